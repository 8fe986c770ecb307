#!/bin/sh
# Installs Debian packages for programs that are not there: install_packages.sh PROGRAM:PACKAGE...
# A PACKAGE alone is installed in any case.
#
# Asks nobody anything: it needs root, or sudo without a password. Where it cannot install, it says
# what is missing and succeeds, since the caller knows better what that means. No service is started:
# a web server that suddenly listens on port 80 is not what somebody who runs tests expects.
set -eu

PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
policy=/usr/sbin/policy-rc.d

missing=""
for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0

give_up() {
    echo "not installed:$missing ($1)"
    exit 0
}

command -v apt-get >/dev/null || give_up "no apt-get here"
if [ "$(id -u)" = 0 ]; then
    as_root="env"
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n env"
else
    give_up "neither root nor sudo without a password"
fi

apt() {
    $as_root DEBIAN_FRONTEND=noninteractive timeout 900 \
        apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

# Debian's way to forbid that packages start services; an existing policy is the machine's own.
if [ ! -e "$policy" ]; then
    trap '$as_root rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM # so that the line above holds for these too
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
fi

echo "installing:$missing"
log=$(mktemp)
apt update >"$log" 2>&1 || tail -n 3 "$log"
for package in $missing; do # one by one, so that one unknown package does not stop the others
    if ! apt install -y --no-install-recommends "$package" >"$log" 2>&1; then
        tail -n 3 "$log"
        echo "could not install $package"
    fi
done
rm -f "$log"

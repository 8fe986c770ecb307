#!/bin/sh
# Makes the virtual environment: scripts/venv.sh FOLDER
#
# Debian keeps the module that puts pip into a virtual environment in a package of its own
# (pythonX.Y-venv), so on a fresh machine `python3 -m venv` fails. It is installed here where that is
# possible without asking; else a pip that the machine has is used; else the message says what to do.
set -eu

folder=$1
here=$(dirname "$0")

fail() {
    echo "error: $*" >&2
    exit 1
}

# The first Python that is new enough; $PYTHON, where set, is the only one that is tried.
find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

can_make_pip() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }

python=$(find_python)
[ -n "$python" ] || fail "Python 3.11 or newer is needed; found: $("${PYTHON:-python3}" --version 2>&1 || true)." \
    "Install one and set PYTHON to its path."

package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
can_make_pip || "$here/install_packages.sh" "$package"

if can_make_pip; then
    "$python" -m venv --clear "$folder"
elif "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear --without-pip "$folder"
    "$python" -m pip --quiet --python "$folder/bin/python" install pip
else
    fail "$python cannot make virtual environments. Install the package $package" \
        "(apt-get install $package) and run make again."
fi

"""The command line: ``gatewayd COMMAND``, one module for each command.

A command is imported when it is run, so that each starts as fast as what it needs; what ``--help``
says of it stands here for the same reason. Exit status: 0 for success, 1 for what has failed, 2 for
a command line that is wrong, 3 for a list that lacks what cannot be read.
"""

from __future__ import annotations

import errno
import os
import sys

from cyclopts import App

from gatewayd._version import __version__
from gatewayd.errors import GatewayError

_CANNOT_BE_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

app = App(
    name="gatewayd",
    help="An API gateway whose every feature is a filter class that anybody can replace.",
    version=f"gatewayd {__version__}",
)
_routes = App(name="routes", help="Show the routes of a configuration.")
_plugins = App(name="plugins", help="Show the installed plugins.")
app.command(_routes)
app.command(_plugins)
_token = App(name="token", help="Make and inspect tokens, for development.")
_crypto = App(name="crypto", help="Make keys.")
_rbac = App(name="rbac", help="Explain who may do what.")
app.command(_token)
_trace = App(name="trace", help="Have requests traced.")
app.command(_trace)
_store = App(name="store", help="Work with the SQL database.")
app.command(_store)
app.command(_crypto)
app.command(_rbac)
_keys = App(name="keys", help="Make and manage API keys.")
app.command(_keys)
_explain = App(name="explain", help="Explain single exchanges of a running gateway.")
app.command(_explain)

app.command(
    "gatewayd.cli.serve:serve",
    name="serve",
    help="""Run the gateway.

    SIGTERM and SIGINT let the exchanges end, and then the gateway; a second one breaks them off.
    SIGHUP reloads the configuration. One that cannot be used changes nothing, and the log says why.
    """,
)
app.command(
    "gatewayd.cli.check:check",
    name="check",
    help="""Say whether a configuration can be used.

    Everything is built as for serving, but nothing is started and nothing connected. Warnings tell
    what is probably a mistake; they leave the exit status at 0, errors make it 1.
    """,
)
_routes.command(
    "gatewayd.cli.routes_list:routes_list",
    name="list",
    help="List the routes in the order in which they are tried.",
)
_routes.command(
    "gatewayd.cli.routes_explain:routes_explain",
    name="explain",
    help="""Show which route takes a request, why the others do not, and the filters on its way.

    Of each filter all settings are shown, with the layer of the configuration that they come from.
    Nothing is sent: the request goes as far as it would inside the gateway.
    """,
)
_plugins.command(
    "gatewayd.cli.plugins_list:plugins_list",
    name="list",
    help="""List the installed plugins; none of them is imported.

    A name that two distributions define is there twice; a configuration that uses it is refused.
    """,
)
_plugins.command(
    "gatewayd.cli.plugins_show:plugins_show",
    name="show",
    help="Show a plugin with all its settings.",
)
_keys.command(
    "gatewayd.cli.keys_create:keys_create",
    name="create",
    help="""Make an API key and print it.

    It is shown this once: the store has nothing but a hash of it. Running gateways know it within
    2 seconds where Redis is configured, within 10 without it.
    """,
)
_keys.command(
    "gatewayd.cli.keys_list:keys_list",
    name="list",
    help="""List the API keys; no secret is shown.

    Where the database has rows that cannot be read, the others are listed, these are named on
    standard error, and the exit status is 3.
    """,
)
_keys.command(
    "gatewayd.cli.keys_show:keys_show",
    name="show",
    help="Show all that is known of an API key, but nothing secret.",
)
_keys.command(
    "gatewayd.cli.keys_revoke:keys_revoke",
    name="revoke",
    help="""Revoke an API key, for good.

    Running gateways refuse it within 2 seconds where Redis is configured, within 10 without it.
    """,
)
_keys.command(
    "gatewayd.cli.keys_rotate:keys_rotate",
    name="rotate",
    help="""Give an API key another secret and print the new key.

    Its id, owner, roles and limits stay. The old secret is refused as a revoked key is; where both
    have to work for a while, create a second key instead, and revoke the first one later.
    """,
)
app.command(
    "gatewayd.cli.init_db:init_db",
    name="init-db",
    help="""Make the database of the store where it is missing, and bring its tables up to date.

    Safe to run again, and on several nodes at once. The embedded store (SQLite) does so by itself.
    """,
)
_store.command(
    "gatewayd.cli.store_import:store_import",
    name="import",
    help="""Write the routes and services of a configuration file into the store.

    They take the place of all that is there. Gateways whose `config.sources` have `store` take them
    over when they reload.
    """,
)
_token.command(
    "gatewayd.cli.token_mint:token_mint",
    name="mint",
    help="""Make a token (JWT), for development.

    It is signed with a private key or a shared secret of yours, as an identity provider signs it.
    """,
)
_token.command(
    "gatewayd.cli.token_inspect:token_inspect",
    name="inspect",
    help="""Show what a token (JWT) says.

    With -c it is verified as the gateway would, with the keys that the configuration names, and the
    reason for which it would be refused is told; the exit status is 1 then.
    """,
)
_token.command(
    "gatewayd.cli.token_revoke:token_revoke",
    name="revoke",
    help="""Revoke a token (JWT) before it expires, by its id (jti).

    Gateways with `filters.auth.jwt.revocation` refuse it within 5 seconds.
    """,
)
_trace.command(
    "gatewayd.cli.trace_header:trace_header",
    name="header",
    help="""Print a header field that has a request recorded, whatever the sample ratio.

    It is signed with `filters.tracing.force_key`, and counts for a short while only.
    """,
)
_crypto.command(
    "gatewayd.cli.crypto_rsa_keypair:crypto_rsa_keypair",
    name="rsa-keypair",
    help="""Make a pair of RSA keys, to sign and to verify tokens.

    The private key is encrypted with the passphrase in KEY_PASSPHRASE, if there is one.
    """,
)
_rbac.command(
    "gatewayd.cli.rbac_explain:rbac_explain",
    name="explain",
    help="""Tell who may send a request, and which rule says so.

    Nothing is sent. The exit status is 1 where the caller is refused.
    """,
)
app.command(
    "gatewayd.cli.status:status",
    name="status",
    help="Show the state of a running gateway: its workers, and the instances of its services.",
)
app.command(
    "gatewayd.cli.top:top",
    name="top",
    help="Show what routes and services of a running gateway have to do, and keep showing it.",
)
app.command(
    "gatewayd.cli.reload:reload",
    name="reload",
    help="Have a running gateway load its configuration again; the exit status is 1 if it refuses.",
)
app.command(
    "gatewayd.cli.drain:drain",
    name="drain",
    help="""Take a running gateway out of service, or put it back.

    `/ready` says 503 then, and idle connections are closed. What comes all the same is served.
    """,
)
app.command(
    "gatewayd.cli.log_level:log_level",
    name="log-level",
    help="Change the level of a logger of a running gateway, until the next reload.",
)
_explain.command(
    "gatewayd.cli.explain_request:explain_request",
    name="request",
    help="""Send a request through a running gateway, and tell what became of it.

    It is counted, limited and sent to an instance as any other. Where nothing is to be sent, use
    `gatewayd routes explain`.
    """,
)
_explain.command(
    "gatewayd.cli.explain_request:explain_show",
    name="show",
    help="Show the record of an exchange that was explained a while ago, by its request id.",
)
_explain.command(
    "gatewayd.cli.explain_header:explain_header",
    name="header",
    help="""Print a header field that has an exchange explained in its response.

    It is signed with `filters.explain.key`, and counts for a short while only.
    """,
)
app.command(
    "gatewayd.cli.schema:schema",
    name="schema",
    help="Print the JSON Schema of the configuration, with all installed plugins.",
)
app.command(
    "gatewayd.cli.version:version",
    name="version",
    help="Print the versions of gatewayd, Python, and the libraries that serve requests.",
)
app.command("gatewayd.cli.worker:worker", name="worker", show=False)


def main() -> None:
    """Run the command that ``sys.argv`` names, and exit."""
    _open_standard_streams()
    try:
        try:
            app(sys.argv[1:])
        except GatewayError as error:
            print(error, file=sys.stderr)
            sys.exit(1)
        finally:
            print(end="", flush=True)  # here, where what it raises can be caught
    except BrokenPipeError:
        # Whoever read our output, such as `head`, has enough of it.
        _forget_output()
        sys.exit(1)
    except OSError as error:
        if error.errno not in _CANNOT_BE_WRITTEN or error.filename is not None:
            raise
        _forget_output()
        print(f"the output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(1)


def _open_standard_streams() -> None:
    """Let what a caller has closed, as ``>&-`` does, lead nowhere.

    Otherwise the next file that is opened, such as a database, is standard output.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  # for as long as we run
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _forget_output() -> None:
    """Drop what is unwritten, or Python complains when it flushes (its own advice in `signal`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

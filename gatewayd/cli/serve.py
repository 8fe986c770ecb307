"""``gatewayd serve``: run the gateway."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from typing import Annotated

from cyclopts import Parameter, validators

from gatewayd.cli.options import DEFAULT_CONFIG, ConfigOption, EnvOption
from gatewayd.config.load import load
from gatewayd.process import logs
from gatewayd.process.notify import Notifier
from gatewayd.process.sockets import bind_listeners
from gatewayd.telemetry.settings import LogLevel  # noqa: TC001  # cyclopts reads it

_PORT = Parameter(
    help="TCP port to listen on; 0 takes a free one.", validator=validators.Number(gte=0, lte=65535)
)
_WORKERS = Parameter(
    help="Number of processes that serve.", validator=validators.Number(gte=1, lte=256)
)
_LOG_LEVEL = Parameter(help="Least severe events that are logged, in the place of `logging.level`.")


def serve(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    host: Annotated[str | None, Parameter(help="Address to listen on.")] = None,
    port: Annotated[int | None, _PORT] = None,
    workers: Annotated[int | None, _WORKERS] = None,
    env: EnvOption = None,
    log_level: Annotated[LogLevel | None, _LOG_LEVEL] = None,
) -> None:
    """Serve until a signal says otherwise."""
    # It would end a process that has no handler yet. Held back, it is a reload as soon as there is
    # one: the files may have changed since they were read.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    logs.configure(log_level or "info")
    notifier = Notifier(os.environ)
    overrides = {
        "server.host": host,
        "server.port": port,
        "server.workers": workers,
        "logging.level": log_level,
    }
    load_again = partial(load, config, overrides=overrides, env=env)
    loaded = load_again()
    logs.apply(loaded.config.logging)
    listeners = bind_listeners(loaded.config.server)
    # Imported here: a supervisor needs nothing of what serves, and is 25 MB smaller without it.
    if len(listeners) == 1:
        import uvloop

        from gatewayd.process.alone import serve_alone

        uvloop.run(serve_alone(loaded, load_again, listeners[0], notifier))
    else:
        from gatewayd.process.supervisor import Supervisor

        asyncio.run(Supervisor(loaded, load_again, listeners, notifier).run())

"""The listening sockets, one for each worker.

They are bound before any worker starts, and stay with the supervisor: what waits in the backlog of
a worker that has crashed is served by the next one, and with port 0 all workers get the same port.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from gatewayd.errors import GatewayError

if TYPE_CHECKING:
    from gatewayd.config.schema import ServerConfig


class ListenError(GatewayError):
    """The address cannot be listened on; says which, and why."""


def bind_listeners(config: ServerConfig) -> list[socket.socket]:
    """Bind a socket for each worker; nobody can connect before the worker listens.

    A host name stands for its first address.

    Raises:
        ListenError: the address is in use, not this machine's, or not allowed.

    """
    try:
        first = _bind(config.host, config.port)
        if config.workers == 1:
            return [first]
        # With SO_REUSEPORT a second gatewayd would share the port without anybody noticing, so
        # the first socket, which is bound without, only checks that nobody else is there.
        port = first.getsockname()[1]
        first.close()
        return [_bind(config.host, port, shared=True) for _ in range(config.workers)]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ListenError(f"cannot listen on {config.host}:{config.port}: {reason}") from error


def _bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # A restart need not wait until the connections of the last run are forgotten.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # "::" means all addresses, whatever net.ipv6.bindv6only says.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket, *, tls: bool) -> str:
    """Return the URL of what listens on a socket."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

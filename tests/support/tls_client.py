"""A client of TLS that decides itself when it reads."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING

from tests.support.raw import SECONDS

if TYPE_CHECKING:
    from tests.support.certificates import Authority


class TlsClient:
    """A client of TLS that reads only what the test reads.

    Streams would not do: TLS in them reads on, by hundreds of kilobytes that nobody asked for.
    """

    def __init__(self, authority: Authority, port: int, name: str = "localhost") -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(SECONDS)
        sock.connect(("127.0.0.1", port))
        context = authority.client_context()
        self._sock = context.wrap_socket(sock, server_hostname=name)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._sock.sendall(data)

    def stay(self) -> None:
        """Say nothing."""

    def end(self) -> None:
        """Close the sending side, without the farewell of TLS."""
        self._sock.shutdown(socket.SHUT_WR)

    def farewell(self) -> None:
        """Say the farewell of TLS, and wait for the other end's."""
        self._sock.unwrap()

    def read(self, count: int) -> bytes:
        """Return so many bytes at most."""
        return self._sock.recv(count)

    def read_to_end(self) -> bytes:
        """Return all that comes until the other end says farewell."""
        return b"".join(iter(partial(self._sock.recv, 65536), b""))

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

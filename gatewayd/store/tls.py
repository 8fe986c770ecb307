"""Connections to MySQL that have TLS or are none at all.

aiomysql 0.3 goes on in plain text where the server's greeting offers no TLS, although it was given
a context: whoever stands in between has only to take the offer out of the greeting, which is not
authenticated. This one breaks off before anything was sent.
"""

from __future__ import annotations

from typing import Any

from aiomysql.connection import Connection
from pymysql.constants import CLIENT
from pymysql.err import OperationalError

_NO_TLS = 2026  # CR_SSL_CONNECTION_ERROR of MySQL's client


class _TlsConnection(Connection):  # type: ignore[misc]  # aiomysql has no types
    async def _request_authentication(self) -> None:
        if not self.server_capabilities & CLIENT.SSL:
            raise OperationalError(_NO_TLS, "the server offers no TLS, which is required")
        await super()._request_authentication()


async def connect(**arguments: Any) -> Connection:
    """Connect as ``aiomysql.connect`` does, but never without TLS.

    Args:
        arguments: The same; ``ssl`` among them.

    """
    connection = _TlsConnection(**arguments)
    try:
        await connection._connect()
    except BaseException:
        connection.close()
        raise
    return connection

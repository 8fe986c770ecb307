"""What supervisor and worker tell each other, over a pair of sockets.

The supervisor sends configurations and questions, and the worker answers each, see
:mod:`gatewayd.process.calls`. That the other end is gone shows as the end of the stream; so no
worker outlives its supervisor, however that ended.

A configuration is sent as it was loaded. Workers do not read the files, which may have changed by
the time when one of them has to be started again: all of them run the same, which has been tried.
"""

from __future__ import annotations

import asyncio
import pickle
import struct
from dataclasses import fields
from typing import TYPE_CHECKING, Self

from gatewayd.config.load import LoadedConfig

if TYPE_CHECKING:
    import socket

    from gatewayd.registry import Plugins

_LENGTH = struct.Struct("!I")
_LIMIT = 1 << 30  # of a message; a configuration of ten thousand routes takes some megabytes


class ChannelClosed(Exception):  # noqa: N818  # an end, and often a wanted one
    """The process at the other end is gone."""


class Channel:
    """One end of the pair.

    Args:
        reader, writer: The socket's streams.

    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> Self:
        """Make the channel of a connected socket."""
        return cls(*await asyncio.open_connection(sock=sock))

    async def send(self, message: bytes) -> None:
        """Send a message.

        Raises:
            ChannelClosed: the other end is gone.

        """
        try:
            self._writer.write(_LENGTH.pack(len(message)) + message)
            await self._writer.drain()
        except OSError as error:
            raise ChannelClosed from error

    async def receive(self) -> bytes:
        """Return the next message.

        Raises:
            ChannelClosed: the other end is gone.

        """
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > _LIMIT:
                raise ChannelClosed
            return await self._reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise ChannelClosed from error

    def close(self) -> None:
        """Close this end."""
        self._writer.close()


def pack(loaded: LoadedConfig) -> bytes:
    """Turn a configuration into bytes for another process of the same installation."""
    values = {
        field.name: getattr(loaded, field.name)
        for field in fields(loaded)
        # Each process imports its own plugins; what the store has given is in the configuration.
        if field.name not in ("plugins", "stored")
    }
    return pickle.dumps(values, pickle.HIGHEST_PROTOCOL)


def unpack(data: bytes, plugins: Plugins) -> LoadedConfig:
    """Restore what :func:`pack` has packed; only for bytes from our own supervisor."""
    return LoadedConfig(plugins=plugins, **pickle.loads(data))  # noqa: S301  # see above

"""The public listener: the only package that imports aiohttp's server.

Reading order: :mod:`entry` (what is checked), :mod:`reader` (from bytes to exchanges),
:mod:`connection` (the request loop), :mod:`response` (back to bytes), :mod:`server` (the listener).
"""

from gatewayd.server.server import Server

__all__ = ["Server"]

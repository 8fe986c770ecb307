"""The public listener: the only package that imports aiohttp's server.

Reading order: :mod:`entry` (from a head to a request), :mod:`connection` (the request loop),
:mod:`response` (back to bytes), :mod:`server` (the listener).
"""

from gatewayd.server.server import Server

__all__ = ["Server"]

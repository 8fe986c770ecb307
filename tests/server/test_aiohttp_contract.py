"""What ``server/connection.py`` and ``server/reader.py`` rely on inside aiohttp.

A failure here means that the installed aiohttp has changed where no promise was made: read its
changes to ``web_protocol.py``, ``base_protocol.py`` and ``_http_parser.pyx`` before anything else.
"""

from __future__ import annotations

import asyncio
import inspect

import pytest
from aiohttp import http_parser, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser
from aiohttp.web_protocol import RequestHandler

from gatewayd.server.connection import ClientConnection
from gatewayd.server.entry import _METHODS


async def never(request: web.BaseRequest) -> web.StreamResponse:
    raise NotImplementedError(repr(request))


def handler() -> RequestHandler:
    loop = asyncio.get_running_loop()
    return RequestHandler(web.Server(never), loop=loop, access_log=None, keepalive_timeout=0)  # type: ignore[arg-type]  # as ClientConnection does


def parser() -> HttpRequestParser:
    loop = asyncio.get_running_loop()
    return HttpRequestParser(
        None, loop, 65536, max_line_size=1 << 20, max_field_size=1 << 20, max_headers=1 << 14,
        auto_decompress=False,
    )  # fmt: skip


@pytest.mark.parametrize("method", sorted(_METHODS))
async def test_the_methods_that_are_taken_are_known(method: bytes) -> None:
    messages, _, _ = parser().feed_data(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert messages[0][0].method == method.decode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_waiter", None),
        ("_task_handler", None),
        ("_close", False),
        ("_force_close", False),
        ("_paused", False),
        ("_keepalive_handle", None),
        ("peername", None),
        ("transport", None),
    ],
)
async def test_a_new_handler_has(name: str, value: object) -> None:
    assert getattr(handler(), name) == value


@pytest.mark.parametrize(
    "name",
    ["connection_made", "connection_lost", "data_received", "start", "close", "force_close"],
)
def test_what_is_overridden_is_there(name: str) -> None:
    assert inspect.isfunction(getattr(RequestHandler, name))


@pytest.mark.parametrize(
    "name", ["_drain_helper", "_pause_transport_reading", "_resume_transport_reading"]
)
def test_what_is_called_is_there(name: str) -> None:
    assert list(inspect.signature(getattr(BaseProtocol, name)).parameters) == ["self"]


OVERRIDDEN = {"connection_made", "connection_lost", "data_received", "eof_received", "start",
              "close", "force_close"}  # fmt: skip


def test_no_other_name_of_ours_is_one_of_theirs() -> None:
    theirs = {name for one in RequestHandler.__mro__[:-1] for name in vars(one)}
    ours = {name for name in vars(ClientConnection) if not name.startswith("__")}
    assert ours & theirs == OVERRIDDEN
    assert not theirs & set(ClientConnection.__slots__)


async def test_a_connection_has_no_more_than_its_slots() -> None:
    assert not hasattr(handler(), "__dict__")


async def test_draining_waits_for_the_transport() -> None:
    one = handler()
    one.connection_made(Transport())
    await one._drain_helper()
    one.pause_writing()
    draining = asyncio.ensure_future(one._drain_helper())
    await asyncio.sleep(0)
    assert one._paused
    assert not draining.done()
    one.resume_writing()
    await draining
    assert not one._paused
    one.connection_lost(None)


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
async def test_draining_ends_with_the_connection(error: Exception | None) -> None:
    one = handler()
    one.connection_made(Transport())
    one.pause_writing()
    draining = asyncio.ensure_future(one._drain_helper())
    await asyncio.sleep(0)
    one.connection_lost(error)
    (result,) = await asyncio.gather(draining, return_exceptions=True)
    assert result is None if error is None else isinstance(result, ConnectionError)
    with pytest.raises(ConnectionError):
        await one._drain_helper()


class Transport(asyncio.Transport):
    """As much of a transport as making and losing a connection touches."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})

    def close(self) -> None: ...


async def test_making_a_connection_starts_one_task_and_no_timer() -> None:
    one = handler()
    one.connection_made(Transport())
    task = one._task_handler
    assert task is not None
    assert task.get_coro().__qualname__ == "RequestHandler.start"  # type: ignore[union-attr]  # a coroutine has one
    assert one._keepalive_handle is None
    one.connection_lost(None)
    await asyncio.gather(task, return_exceptions=True)


async def test_losing_a_connection_cancels_the_task_where_asked() -> None:
    registry = web.Server(never, handler_cancellation=True)
    one = RequestHandler(registry, loop=asyncio.get_running_loop())
    one.connection_made(Transport())
    task = one._task_handler
    assert task is not None
    assert registry.connections == [one]
    one.connection_lost(None)
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert one._manager is None
    assert registry.connections == []


def test_the_parser_is_the_compiled_one() -> None:
    # The one in Python has other limits and another idea of malformed.
    assert HttpRequestParser is not http_parser.HttpRequestParserPy


async def test_a_head_is_one_message_with_its_lines_as_they_were() -> None:
    one = parser()
    for _ in range(2):
        messages, upgraded, tail = one.feed_data(
            b"GET /a HTTP/1.1\r\nHost: h\r\nX-A:  \xe9 \r\n\r\n"
        )
        assert (len(messages), upgraded, tail) == (1, False, b"")
        assert messages[0][0].raw_headers == ((b"Host", b"h"), (b"X-A", b"\xe9"))


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        (b"", []),
        (b"Connection: close\r\n", ["should_close"]),
        (b"Proxy-Connection: close\r\n", ["should_close"]),
        (b"Connection: upgrade\r\nUpgrade: websocket\r\n", ["upgrade"]),
        (b"Transfer-Encoding: chunked\r\n", ["chunked"]),
    ],
)
async def test_the_parser_tells_after_which_heads_it_is_good_for_no_other(
    fields: bytes, names: list[str]
) -> None:
    messages, _, _ = parser().feed_data(b"GET / HTTP/1.1\r\nHost: h\r\n" + fields + b"\r\n")
    message = messages[0][0]
    assert [one for one in ("should_close", "upgrade", "chunked") if getattr(message, one)] == names


@pytest.mark.parametrize(
    "lines",
    [b"Host: a\r\nHost: b\r\n", b"Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"],
)
async def test_what_it_refuses_is_one_kind_of_error(lines: bytes) -> None:
    with pytest.raises(HttpProcessingError):
        parser().feed_data(b"GET / HTTP/1.1\r\n" + lines + b"\r\n")

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gatewayd import Body, Headers, IterBody, NoBody
from gatewayd.body import HIGH_WATER, BodyClosedError, StreamBody
from tests.support.raw import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Source:
    """What a body has asked of its source."""

    def __init__(self, length: int | None = None) -> None:
        self.calls: list[str] = []
        self.body = StreamBody(
            length,
            pause=lambda: self.calls.append("pause"),
            resume=lambda: self.calls.append("resume"),
            on_close=lambda: self.calls.append("close"),
            on_read=lambda: self.calls.append("read"),
        )


async def test_pieces_that_wait_are_read_as_one() -> None:
    body = Source().body
    body.feed(b"a")
    body.feed(b"b")
    body.feed_end()
    assert await body.read() == b"ab"
    assert await body.read() == b""
    assert await body.read() == b""


async def test_a_reader_waits_for_the_next_piece() -> None:
    source = Source()
    reading = asyncio.ensure_future(source.body.read())
    await until(lambda: source.calls)
    assert not source.body.ready
    source.body.feed(b"a")
    assert source.body.ready
    assert await reading == b"a"


async def test_a_body_is_iterated_to_its_end() -> None:
    body = Source().body
    body.feed(b"ab")
    iterator = aiter(body)
    assert await anext(iterator) == b"ab"
    body.feed(b"cd")
    body.feed_end()
    assert [piece async for piece in iterator] == [b"cd"]


async def test_the_source_is_told_once_that_somebody_waits() -> None:
    source = Source()
    for piece in (b"a", b"b"):
        reading = asyncio.ensure_future(source.body.read())
        await until(lambda: source.body._waiter is not None)
        source.body.feed(piece)
        assert await reading == piece
    assert source.calls == ["read"]


async def test_the_source_is_not_told_where_nobody_has_to_wait() -> None:
    source = Source()
    source.body.feed(b"a")
    assert await source.body.read() == b"a"
    assert source.calls == []


async def test_the_end_brings_trailers() -> None:
    body = Source().body
    trailers = Headers.of_lines([(b"Checksum", b"1")])
    body.feed_end(trailers)
    assert body.trailers is trailers
    assert body.ended
    assert await body.read() == b""


async def test_a_failure_drops_what_waits_and_is_raised_again_and_again() -> None:
    source = Source()
    source.body.feed(b"x" * (HIGH_WATER + 1))
    source.body.fail(ConnectionResetError("gone"))
    source.body.feed(b"late")
    for _ in range(2):
        with pytest.raises(ConnectionResetError, match="gone"):
            await source.body.read()
    assert source.calls == ["pause", "resume"]


async def test_a_failure_reaches_the_reader_that_waits() -> None:
    source = Source()
    reading = asyncio.ensure_future(source.body.read())
    await until(lambda: source.calls)
    source.body.fail(ConnectionResetError("gone"))
    with pytest.raises(ConnectionResetError, match="gone"):
        await reading


async def test_a_failure_after_the_end_or_another_failure_is_none() -> None:
    ended, failed = Source().body, Source().body
    ended.feed(b"a")
    ended.feed_end()
    ended.fail(ValueError("late"))
    assert await ended.read() == b"a"
    assert await ended.read() == b""
    failed.fail(ValueError("first"))
    failed.fail(ValueError("second"))
    with pytest.raises(ValueError, match="first"):
        await failed.read()


async def test_an_abandoned_body_tells_its_source_once() -> None:
    source = Source()
    source.body.feed(b"x" * (HIGH_WATER + 1))
    await source.body.aclose()
    await source.body.aclose()
    assert source.calls == ["pause", "resume", "close"]
    with pytest.raises(BodyClosedError):
        await source.body.read()


async def test_closing_ends_the_wait_of_a_reader() -> None:
    source = Source()
    reading = asyncio.ensure_future(source.body.read())
    await until(lambda: source.calls)
    source.body.close()
    with pytest.raises(BodyClosedError):
        await reading


@pytest.mark.parametrize("end", ["feed_end", "fail"])
async def test_a_body_that_has_ended_has_no_source_to_tell(end: str) -> None:
    source = Source()
    if end == "feed_end":
        source.body.feed_end()
    else:
        source.body.fail(ValueError())
    await source.body.aclose()
    assert source.calls == []


async def test_what_is_dropped_unread_is_no_end() -> None:
    """As for who reads on behind the end of the exchange, whose bodies are closed."""
    source = Source()
    source.body.feed(b"a")
    source.body.feed_end()
    source.body.close()
    with pytest.raises(BodyClosedError):
        await source.body.read()
    assert source.calls == []


async def test_a_cancelled_reader_loses_nothing() -> None:
    source = Source()
    reading = asyncio.ensure_future(source.body.read())
    await until(lambda: source.calls)
    source.body.feed(b"a")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await source.body.read() == b"a"


async def test_all_is_taken_only_where_all_is_there() -> None:
    source = Source(length=3)
    source.body.feed(b"ab")
    assert source.body.take_all() is None
    source.body.feed(b"c")
    source.body.feed_end()
    assert source.body.take_all() == b"abc"
    assert source.body.length == 3
    assert await source.body.read() == b""


async def test_a_body_with_trailers_or_a_failure_stays_a_stream() -> None:
    with_trailers, failed = Source().body, Source().body
    with_trailers.feed_end(Headers.of_lines([(b"Checksum", b"1")]))
    assert with_trailers.take_all() is None
    failed.fail(ValueError())
    assert failed.take_all() is None


@pytest.mark.parametrize("then", ["read", "close"])
async def test_a_source_that_has_delivered_everything_goes_on_and_is_not_called_again(
    then: str,
) -> None:
    source = Source()
    source.body.feed(b"x" * (HIGH_WATER + 1))
    source.body.feed_end()
    assert source.calls == ["pause", "resume"]
    if then == "read":
        assert len(await source.body.read()) == HIGH_WATER + 1
    else:
        await source.body.aclose()
    assert source.calls == ["pause", "resume"]


async def test_no_body_has_a_length_and_nothing_else() -> None:
    body = NoBody(500)
    assert body.length == 500
    assert await body.read() == b""
    await body.aclose()


async def test_the_base_has_no_source() -> None:
    for use in (Body().read(), Body().aclose()):
        with pytest.raises(NotImplementedError):
            await use


async def counting(*pieces: bytes, ended: list[str]) -> AsyncGenerator[bytes, None]:
    try:
        for piece in pieces:
            yield piece
    finally:
        ended.append("generator")


async def test_a_generator_s_empty_pieces_are_not_the_end() -> None:
    body = IterBody(counting(b"a", b"", b"b", ended=[]), length=2)
    assert [piece async for piece in body] == [b"a", b"b"]
    assert body.length == 2


@pytest.mark.parametrize("started", [True, False])
async def test_closing_closes_generator_and_wrapped_body(started: bool) -> None:
    ended: list[str] = []
    source = Source()
    body = IterBody(counting(b"a", b"b", ended=ended), wraps=source.body)
    if started:
        await body.read()
    await body.aclose()
    await body.aclose()
    assert ended == ["generator"] * started
    assert source.calls == ["close"]


async def test_the_wrapped_body_is_closed_also_where_the_generator_s_end_fails() -> None:
    async def failing() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
        finally:
            raise ValueError("cannot finish")

    source = Source()
    body = IterBody(failing(), wraps=source.body)
    await body.read()
    with pytest.raises(ValueError, match="cannot finish"):
        await body.aclose()
    assert source.calls == ["close"]


async def test_a_generator_that_was_broken_off_has_not_come_to_its_end() -> None:
    async def slow() -> AsyncGenerator[bytes, None]:
        yield b"a"
        await asyncio.Event().wait()

    body = IterBody(slow())
    assert await body.read() == b"a"
    reader = asyncio.ensure_future(body.read())
    await asyncio.sleep(0)  # it has begun
    reader.cancel()
    await asyncio.wait({reader})
    with pytest.raises(BodyClosedError):
        await body.read()


async def test_a_generator_that_has_failed_fails_on_every_read() -> None:
    async def failing() -> AsyncGenerator[bytes, None]:
        yield b"a"
        raise ValueError("the source is gone")

    body = IterBody(failing())
    assert await body.read() == b"a"
    for _ in range(2):
        with pytest.raises(ValueError, match="gone"):
            await body.read()


@pytest.mark.parametrize("to_the_end", [True, False])
async def test_what_was_closed_early_cannot_be_read_to_an_end(to_the_end: bool) -> None:
    body = IterBody(counting(b"a", ended=[]))
    await body.read()
    if to_the_end:
        assert await body.read() == b""
    await body.aclose()
    if to_the_end:
        assert await body.read() == b""
    else:
        with pytest.raises(BodyClosedError):
            await body.read()


class FlowControl(RuleBasedStateMachine):
    """A source that stops when it is told to, and a reader that reads when there is something."""

    def __init__(self) -> None:
        super().__init__()
        self.source = Source()
        self.body = self.source.body
        self.fed = b""
        self.read = b""
        self.open = True

    @property
    def paused(self) -> bool:
        return self.source.calls[-1:] == ["pause"]

    @rule(size=st.sampled_from([1, 1000, HIGH_WATER - 1, HIGH_WATER, HIGH_WATER + 1]))
    @precondition(lambda self: self.open and not self.paused)
    def feed(self, size: int) -> None:
        piece = bytes([len(self.fed) % 251]) * size
        self.body.feed(piece)
        self.fed += piece

    @rule()
    @precondition(lambda self: self.body.ready)
    def read_on(self) -> None:
        # A read that does not wait ends at once, without an event loop.
        try:
            self.body.read().send(None)
        except StopIteration as end:
            assert end.value or not self.open  # noqa: PT017  # how a coroutine returns
            self.read += end.value

    @rule()
    @precondition(lambda self: self.open)
    def end(self) -> None:
        self.body.feed_end()
        self.open = False

    @rule()
    @precondition(lambda self: not self.open)
    def take_all(self) -> None:
        self.read += self.body.take_all() or b""

    @invariant()
    def nothing_is_lost_or_changed(self) -> None:
        assert self.fed.startswith(self.read)
        assert self.body._buffered == len(self.fed) - len(self.read)

    @invariant()
    def an_open_source_is_paused_exactly_while_too_much_waits(self) -> None:
        too_much = len(self.fed) - len(self.read) > HIGH_WATER
        assert self.paused == (self.open and too_much)
        # Never paused or resumed twice in a row: transports may refuse that.
        assert (
            self.source.calls
            == (["pause", "resume"] * len(self.source.calls))[: len(self.source.calls)]
        )


TestFlowControl = FlowControl.TestCase

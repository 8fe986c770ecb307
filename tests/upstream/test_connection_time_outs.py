"""How long a connection waits for what, and whom it blames when the time has passed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gatewayd import Body, UpstreamTimeout
from gatewayd.body import HIGH_WATER
from gatewayd.testing import FakeClock, read_body
from gatewayd.timers import NEVER
from gatewayd.upstream import upload
from gatewayd.upstream.connection import CLOSED
from tests.support.driven import OK, Driven, uploading
from tests.support.raw import until
from tests.support.upstream import make_attempt, stream

if TYPE_CHECKING:
    from gatewayd.upstream.attempt import Attempt


class Expecting:
    """An attempt with a deadline for each phase, told apart by their lengths."""

    TIMEOUTS = {"first_byte": 10.0, "between_bytes": 20.0, "write": 30.0}  # noqa: RUF012  # never changed

    @classmethod
    def attempt(cls, **settings: Any) -> Attempt:
        return make_attempt(**{"deadline": 1000.0 + 100.0, **cls.TIMEOUTS, **settings})


async def test_the_head_has_its_time_and_a_part_of_it_wins_none(
    driven: Driven, clock: FakeClock
) -> None:
    driven.connection.send(Expecting.attempt())
    assert driven.connection.expires_at == 1010.0
    clock.advance(5.0)
    driven.connection.data_received(OK)
    assert driven.connection.expires_at == 1010.0


async def test_each_piece_of_the_body_has_its_time(driven: Driven, clock: FakeClock) -> None:
    driven.connection.send(Expecting.attempt())
    driven.connection.data_received(OK + b"Content-Length: 100000\r\n\r\n")
    assert driven.connection.expires_at == 1020.0
    clock.advance(5.0)
    driven.connection.data_received(b"a")
    assert driven.connection.expires_at == 1025.0


async def test_while_the_client_is_slow_the_instance_is_not(
    driven: Driven, clock: FakeClock
) -> None:
    response = driven.connection.send(Expecting.attempt())
    driven.connection.data_received(OK + b"Content-Length: 1000000\r\n\r\n")
    driven.connection.data_received(b"x" * (HIGH_WATER + 1))
    assert driven.connection.expires_at == 1100.0  # the whole exchange's
    clock.advance(50.0)
    body = (await response).body
    assert isinstance(body, Body)
    await body.read()
    assert driven.connection.expires_at == 1070.0


async def test_a_streamed_request_has_other_times(driven: Driven, clock: FakeClock) -> None:
    body = stream(ended=False)
    driven.connection.send(Expecting.attempt(method="POST", body=body))
    await until(lambda: driven.connection.expires_at == 1100.0)  # the client's time
    driven.connection.pause_writing()
    body.feed(b"a")
    await until(lambda: driven.connection.expires_at == 1030.0)  # the instance takes nothing
    driven.connection.resume_writing()
    await until(lambda: driven.connection.expires_at == 1100.0)
    clock.advance(5.0)
    body.feed_end()
    await until(lambda: driven.connection.expires_at == 1015.0)  # the answer's
    driven.connection.close()


async def test_a_request_that_waits_to_be_asked_for_is_not_late_with_its_answer(
    driven: Driven, clock: FakeClock
) -> None:
    """After ``expect``, which may be longer than an attempt may take, its body is sent anyway."""
    body = stream(b"a", ended=False)
    attempt = Expecting.attempt(method="POST", body=body, expects_continue=True, expect=1000.0)
    response = driven.connection.send(attempt)
    clock.advance(10.0)
    assert driven.connection.expires_at == 1100.0
    driven.connection.data_received(b"HTTP/1.1 100 Continue\r\n\r\n")
    body.feed_end()
    await until(lambda: driven.connection.expires_at == 1020.0)
    driven.connection.data_received(OK + b"Content-Length: 0\r\n\r\n")
    assert (await response).status == 200


async def test_the_end_of_a_request_does_not_take_the_response_s_time_away(
    driven: Driven, clock: FakeClock
) -> None:
    body = stream(b"a", ended=False)
    response = driven.connection.send(Expecting.attempt(method="POST", body=body))
    await until(lambda: b"1\r\na\r\n" in driven.transport.written)
    driven.connection.data_received(OK + b"Content-Length: 100\r\n\r\n")
    body.feed_end()
    await until(lambda: not uploading(driven.connection))
    assert driven.connection.expires_at == 1020.0
    await (await response).discard()


@pytest.mark.parametrize("ended", [True, False])
async def test_a_body_that_pauses_while_its_request_is_still_to_come_blames_no_instance(
    driven: Driven, clock: FakeClock, ended: bool
) -> None:
    attempt = Expecting.attempt(method="POST", body=stream(b"a", ended=ended))
    response = driven.connection.send(attempt)
    await until(lambda: b"1\r\na\r\n" in driven.transport.written)
    await until(lambda: uploading(driven.connection) is not ended)
    driven.connection.data_received(OK + b"Content-Length: 100\r\n\r\n")
    clock.advance(20.0)
    driven.connection.expire(clock())
    body = (await response).body
    assert isinstance(body, Body)
    with pytest.raises(UpstreamTimeout) as caught:
        await body.read()
    assert caught.value.instance_failed is ended


@pytest.mark.parametrize("taken", [100, 200])
async def test_a_body_that_pauses_is_late_though_the_instance_takes_the_request(
    driven: Driven, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    monkeypatch.setattr(upload, "count_taken", lambda _: counted)
    monkeypatch.setattr(upload, "is_taken", lambda _: False)
    counted = 100
    response = driven.connection.send(Expecting.attempt(method="POST", body=stream(b"a")))
    await until(lambda: not uploading(driven.connection))
    driven.connection.data_received(OK + b"Content-Length: 100\r\n\r\n")
    counted = taken
    clock.advance(20.0)
    driven.connection.expire(clock())
    assert driven.connection.state == CLOSED
    body = (await response).body
    assert isinstance(body, Body)
    with pytest.raises(UpstreamTimeout, match="in body"):
        await body.read()


async def test_an_idle_connection_has_its_time(driven: Driven) -> None:
    driven.connection.send(Expecting.attempt())
    driven.connection.data_received(OK + b"Content-Length: 0\r\n\r\n")
    assert driven.connection.expires_at == 1000.0 + driven.pool.config.idle_timeout


@pytest.mark.parametrize(
    ("deadline", "cause"),
    [(NEVER, "timed out in head"), (1010.0, "the exchange's deadline passed")],
)
async def test_what_takes_too_long_is_broken_off(
    driven: Driven, clock: FakeClock, deadline: float, cause: str
) -> None:
    response = driven.connection.send(make_attempt(deadline=deadline, first_byte=10.0))
    clock.advance(10.0)
    driven.connection.expire(clock())
    with pytest.raises(UpstreamTimeout, match=cause) as caught:
        await response
    assert caught.value.sent
    assert not driven.reusable
    assert driven.transport.calls == ["abort"]


@pytest.mark.parametrize(
    ("sent_after", "limits", "blamed"),
    [
        # The exchange's deadline, 10 seconds after it began.
        (0.0, {"deadline": 1010.0}, True),
        (4.9, {"deadline": 1010.0}, True),
        (5.1, {"deadline": 1010.0}, False),
        (9.9, {"deadline": 1010.0}, False),
        # One attempt's, of which a second has gone by until there was a connection.
        (4.0, {"deadline": 1100.0, "answer_by": 1005.9}, True),
        (4.0, {"deadline": 1100.0, "answer_by": 1004.1}, False),
        (4.0, {"answer_by": 1004.1}, False),
        # The instance's own.
        (9.9, {"deadline": 1100.0, "first_byte": 0.1}, True),
        (9.9, {"answer_by": 1100.0, "first_byte": 0.1}, True),
    ],
)
@pytest.mark.parametrize("upload", [False, True], ids=["attempt", "upload"])
async def test_an_instance_is_blamed_for_what_it_had_time_for(
    driven: Driven,
    clock: FakeClock,
    upload: bool,
    sent_after: float,
    limits: dict[str, float],
    blamed: bool,
) -> None:
    body = stream(b"hello", length=5, ended=False) if upload else b""
    settings: dict[str, Any] = {"method": "PUT", "received_at": clock(), **limits}
    attempt = make_attempt(body=body, **settings)
    attempt.asked_at = clock() + 3.0
    if upload:
        response = driven.connection.send(attempt)
        await until(lambda: driven.transport.written.endswith(b"hello"))
        clock.advance(sent_after)
        body.feed_end()  # type: ignore[union-attr]  # a stream
        await until(lambda: not uploading(driven.connection))
    else:  # by the client that was slower, other attempts, or the wait for a connection
        clock.advance(sent_after)
        response = driven.connection.send(attempt)
    clock.now = driven.connection.expires_at
    driven.connection.expire(clock())
    with pytest.raises(UpstreamTimeout) as caught:
        await response
    assert caught.value.instance_failed == blamed


@pytest.mark.parametrize(("taken_until", "blamed"), [(4.0, True), (9.0, False)])
async def test_an_instance_that_takes_a_request_slowly_is_blamed_for_its_part_of_the_time(
    driven: Driven, clock: FakeClock, taken_until: float, blamed: bool
) -> None:
    body = stream(ended=False)
    attempt = make_attempt("PUT", body=body, deadline=1010.0, received_at=clock())
    response = driven.connection.send(attempt)
    clock.advance(taken_until)
    driven.connection.pause_writing()
    body.feed(b"a")
    await until(lambda: b"1\r\na\r\n" in driven.transport.written)
    clock.now = 1010.0
    driven.connection.expire(clock())
    with pytest.raises(UpstreamTimeout) as caught:
        await response
    assert caught.value.instance_failed == blamed


async def test_a_body_that_takes_too_long_breaks_off(driven: Driven, clock: FakeClock) -> None:
    response = driven.connection.send(make_attempt())
    driven.connection.data_received(OK + b"Content-Length: 5\r\n\r\nhe")
    message = await response
    driven.connection.expire(clock())
    with pytest.raises(UpstreamTimeout, match="timed out in body"):
        await read_body(message)
    assert not driven.reusable


@pytest.mark.parametrize(
    ("passed", "cause", "blamed"),
    [(9.0, "timed out in body", True), (10.0, "deadline passed", False)],
)
async def test_an_instance_is_blamed_for_a_body_only_within_the_deadline(
    driven: Driven, clock: FakeClock, passed: float, cause: str, blamed: bool
) -> None:
    # For the head it had one second; and it was asked as soon as the exchange began.
    limits = {"deadline": clock() + 10.0, "answer_by": clock() + 1.0, "received_at": clock()}
    response = driven.connection.send(make_attempt(**limits))
    driven.connection.data_received(OK + b"Content-Length: 5\r\n\r\nhe")
    message = await response
    clock.advance(passed)
    driven.connection.expire(clock())
    with pytest.raises(UpstreamTimeout, match=cause) as caught:
        await read_body(message)
    assert caught.value.instance_failed == blamed


async def test_a_deadline_that_passed_with_the_end_of_the_exchange_changes_nothing(
    driven: Driven, clock: FakeClock
) -> None:
    response = driven.connection.send(make_attempt(first_byte=10.0))
    driven.connection.data_received(OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
    clock.advance(10.0)
    driven.connection.expire(clock())
    assert (await response).status == 200
    assert not driven.reusable

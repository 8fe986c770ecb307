from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from gatewayd import (
    Body,
    ConnectFailure,
    ConnectTimeout,
    PoolExhausted,
    Response,
    UpstreamReset,
    UpstreamTimeout,
)
from gatewayd.testing import read_body
from gatewayd.unsent import count_taken
from gatewayd.upstream.connection import CLOSED, UpstreamConnection
from tests.support.driven import uploading
from tests.support.raw import until
from tests.support.upstream import make_attempt, make_pool, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gatewayd.testing import FakeClock
    from gatewayd.timers import Sweeper
    from gatewayd.upstream.attempt import Attempt
    from gatewayd.upstream.pool import Pool
    from tests.support.raw import RawOrigin, Wire

    MakePool = Callable[..., Pool]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def pools(sweeper: Sweeper, origin: RawOrigin) -> AsyncIterator[MakePool]:
    """Makes pools of connections to the origin; at the end every connection is accounted for."""
    made = []

    def make(**settings: Any) -> Pool:
        made.append(make_pool(sweeper, settings.pop("url", origin.url), **settings))
        return made[-1]

    yield make
    for pool in made:
        pool.close()
    await until(lambda: not any(pool._open for pool in made))
    for pool in made:
        assert not pool._idle
        assert not pool._waiters
    assert len(sweeper) == 0


def sending(pool: Pool, attempt: Attempt | None = None) -> asyncio.Task[Response]:
    return asyncio.create_task(pool.send(attempt or make_attempt()))


async def answered(wire: Wire, answer: bytes = OK) -> bytes:
    """Read a request without a body, answer it, and return its head."""
    head = await wire.read_head()
    wire.send(answer)
    return head


async def exchanged(pool: Pool, origin: RawOrigin) -> Wire:
    """Run an exchange on a new connection, which is idle then; return the origin's end of it."""
    response = sending(pool)
    wire = await origin.accept()
    await answered(wire)
    assert (await response).body == b"ok"
    return wire


async def test_a_connection_is_used_again(pools: MakePool, origin: RawOrigin) -> None:
    pool = pools()
    wire = await exchanged(pool, origin)
    for target in ("/a", "/b"):
        response = sending(pool, make_attempt(target=target))
        assert (await answered(wire)).startswith(f"GET {target} HTTP/1.1\r\n".encode())
        assert (await response).status == 200
    assert origin.accepted == 1


async def test_the_one_that_was_used_last_is_used_first(pools: MakePool, origin: RawOrigin) -> None:
    pool = pools()
    first, second = sending(pool), sending(pool)
    wires = [await origin.accept(), await origin.accept()]
    await answered(wires[0])
    await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
    await answered(wires[1])
    await asyncio.wait([first, second])
    for _ in range(3):
        response = sending(pool)
        await answered(wires[1])
        await response
    assert origin.accepted == 2


async def test_an_idle_connection_ends_in_time(
    pools: MakePool, origin: RawOrigin, clock: FakeClock
) -> None:
    pool = pools(idle_timeout=30)
    wire = await exchanged(pool, origin)
    clock.advance(29)
    response = sending(pool)
    await answered(wire)
    await response
    clock.advance(29)  # of which none count that were before the last use
    response = sending(pool)
    await answered(wire)
    await response
    clock.advance(30)
    assert await wire.read_to_end() == b""
    assert pool._open == 0


async def test_an_idle_connection_that_the_instance_closes_is_forgotten(
    pools: MakePool, origin: RawOrigin
) -> None:
    pool = pools()
    wire = await exchanged(pool, origin)
    wire.close()
    await until(lambda: pool._open == 0)
    assert pool._idle == []
    await exchanged(pool, origin)
    assert origin.accepted == 2


@pytest.mark.parametrize("body", [b"", b"hello"])
@pytest.mark.parametrize(
    ("method", "repeated"),
    [("GET", True), ("HEAD", True), ("PUT", True), ("DELETE", True), ("OPTIONS", True),
     ("POST", False), ("PATCH", False), ("get", False), ("LOCK", False)],
)  # fmt: skip
async def test_a_request_on_a_dead_connection_goes_out_once_more_if_it_may(
    pools: MakePool, origin: RawOrigin, method: str, repeated: bool, body: bytes
) -> None:
    pool = pools(max_connections=1)
    wire = await exchanged(pool, origin)
    attempt = make_attempt(method, body=body)
    response = sending(pool, attempt)
    await wire.read(len(attempt.head) + len(body))
    wire.close()  # read, but never answered
    if repeated:
        again = await origin.accept()
        assert await again.read(len(attempt.head) + len(body)) == attempt.head + body
        again.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (await response).status == 204
    else:
        with pytest.raises(UpstreamReset) as caught:
            await response
        assert caught.value.sent
        assert origin.accepted == 1


async def send_on_a_lost_one(pool: Pool, attempt: Attempt) -> Response:
    """Send in the turn of the loop in which the connection is lost, before the pool hears of it."""
    transport = pool._idle[-1]._transport
    assert transport is not None
    transport.close()
    return await pool.send(attempt)


@pytest.mark.parametrize("body", [b"hello", b""])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_was_not_sent_goes_out_whatever_it_is(
    pools: MakePool, origin: RawOrigin, method: str, body: bytes
) -> None:
    pool = pools()
    await exchanged(pool, origin)
    response = asyncio.create_task(send_on_a_lost_one(pool, make_attempt(method, body=body)))
    wire = await origin.accept()
    await answered(wire)
    assert (await response).status == 200
    assert origin.accepted == 2


async def test_a_stream_of_which_nothing_was_read_goes_out_on_a_new_connection(
    pools: MakePool, origin: RawOrigin
) -> None:
    pool = pools()
    await exchanged(pool, origin)
    attempt = make_attempt("POST", body=stream(b"hello", length=5))
    response = asyncio.create_task(send_on_a_lost_one(pool, attempt))
    wire = await origin.accept()
    await answered(wire)
    assert await wire.read(5) == b"hello"
    assert (await response).status == 200


async def test_a_stream_that_was_read_from_does_not_go_out_again(
    pools: MakePool, origin: RawOrigin
) -> None:
    pool = pools()
    wire = await exchanged(pool, origin)
    response = sending(pool, make_attempt("PUT", body=stream(b"hello", length=5)))
    await wire.read_head()
    wire.close()
    with pytest.raises(UpstreamReset):
        await response
    assert origin.accepted == 1


@pytest.mark.parametrize("part", [b"H", OK[:20], OK[:-1]])
async def test_a_request_that_was_answered_in_part_does_not_go_out_again(
    pools: MakePool, origin: RawOrigin, part: bytes
) -> None:
    pool = pools()
    wire = await exchanged(pool, origin)
    response = sending(pool)
    await answered(wire, part)
    wire.close()
    with pytest.raises(UpstreamReset):
        await read_body(await response)
    assert origin.accepted == 1


async def test_a_request_on_a_new_connection_does_not_go_out_again(
    pools: MakePool, origin: RawOrigin
) -> None:
    response = sending(pools())
    wire = await origin.accept()
    await wire.read_head()
    wire.close()
    with pytest.raises(UpstreamReset):
        await response
    assert origin.accepted == 1


async def test_a_request_goes_out_once_more_and_not_again(
    pools: MakePool, origin: RawOrigin
) -> None:
    pool = pools()
    wires = [await exchanged(pool, origin)]
    response = sending(pool)
    await wires[0].read_head()
    wires[0].close()
    again = await origin.accept()
    await again.read_head()
    again.close()
    with pytest.raises(UpstreamReset):
        await response
    assert origin.accepted == 2


async def test_a_repeated_request_may_find_nobody(pools: MakePool, origin: RawOrigin) -> None:
    pool = pools(max_connections=1)
    wire = await exchanged(pool, origin)
    response = sending(pool)
    await wire.read_head()
    origin.close()
    with pytest.raises(ConnectFailure) as caught:
        await response
    assert not caught.value.sent
    assert pool._open == 0


async def test_exchanges_wait_for_a_connection_in_order(pools: MakePool, origin: RawOrigin) -> None:
    pool = pools(max_connections=1)
    tasks = [sending(pool, make_attempt(target=f"/{number}")) for number in range(4)]
    wire = await origin.accept()
    for number, task in enumerate(tasks):
        assert (await answered(wire)).startswith(b"GET /%d " % number)
        assert (await task).status == 200
        assert pool.active == 3 - number
    assert origin.accepted == 1


async def test_a_connection_that_ends_leaves_its_place_to_who_waits(
    pools: MakePool, origin: RawOrigin
) -> None:
    pool = pools(max_connections=1)
    tasks = [sending(pool) for _ in range(3)]
    for task in tasks:
        await answered(await origin.accept(), CLOSE)
        assert (await task).status == 200
    assert origin.accepted == 3


async def test_a_failed_connect_leaves_its_place_to_who_waits(
    pools: MakePool, origin: RawOrigin
) -> None:
    origin.close()
    pool = pools(max_connections=1)
    tasks = [sending(pool) for _ in range(3)]
    for task in tasks:
        with pytest.raises(ConnectFailure):
            await task


async def test_no_more_may_wait_than_the_limit(pools: MakePool, origin: RawOrigin) -> None:
    pool = pools(max_connections=1, max_pending=1)
    served, waiting, refused = sending(pool), sending(pool), sending(pool)
    with pytest.raises(PoolExhausted, match="1 exchanges wait already") as caught:
        await refused
    assert not caught.value.sent
    wire = await origin.accept()
    for task in (served, waiting):
        await answered(wire)
        assert (await task).status == 200


async def test_waiting_has_its_time(pools: MakePool, origin: RawOrigin) -> None:
    pool = pools(max_connections=1, pool_timeout=0.01)
    served = sending(pool)
    wire = await origin.accept()
    with pytest.raises(PoolExhausted, match=r"came free in 0\.01 s") as caught:
        await pool.send(make_attempt())
    assert not caught.value.sent
    assert len(pool._waiters) == 0
    await answered(wire)
    await served


async def test_the_exchange_s_deadline_counts_while_waiting(
    pools: MakePool, origin: RawOrigin, clock: FakeClock
) -> None:
    pool = pools(max_connections=1)
    served = sending(pool)
    wire = await origin.accept()
    with pytest.raises(UpstreamTimeout) as caught:
        await pool.send(make_attempt(deadline=clock() + 0.01))
    assert not caught.value.sent
    assert not caught.value.instance_failed
    await answered(wire)
    await served


async def test_connecting_has_its_time(pools: MakePool, full_backlog: int) -> None:
    pool = pools(url=f"http://127.0.0.1:{full_backlog}", connect_timeout=0.01)
    with pytest.raises(ConnectTimeout, match=r"no connection in 0\.01 s") as caught:
        await pool.send(make_attempt())
    assert not caught.value.sent
    assert pool._open == 0


async def test_the_exchange_s_deadline_counts_while_connecting(
    pools: MakePool, full_backlog: int, clock: FakeClock
) -> None:
    pool = pools(url=f"http://127.0.0.1:{full_backlog}")
    for left in (0.01, 0.0, -1.0):
        with pytest.raises(ConnectTimeout):
            await pool.send(make_attempt(deadline=clock() + left))
    assert pool._open == 0


@pytest.mark.parametrize(
    ("before", "own", "blamed"),
    [(0.0, 60.0, True), (0.5, 60.0, False), (0.5, 0.01, True)],
    ids=["all of the exchange's time", "what was left of it", "its own time"],
)
async def test_an_instance_is_blamed_for_a_connection_that_it_had_time_for(
    pools: MakePool, full_backlog: int, clock: FakeClock, before: float, own: float, blamed: bool
) -> None:
    pool = pools(url=f"http://127.0.0.1:{full_backlog}", connect_timeout=own)
    attempt = make_attempt(deadline=clock() + before + 0.02, received_at=clock())
    clock.advance(before)
    with pytest.raises(ConnectTimeout) as caught:
        await pool.send(attempt)
    assert caught.value.instance_failed == blamed


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://a..b", f"http://{'a' * 64}"])
async def test_an_instance_that_cannot_be_reached(pools: MakePool, url: str) -> None:
    pool = pools(url=url)
    with pytest.raises(ConnectFailure) as caught:
        await pool.send(make_attempt())
    assert not caught.value.sent
    assert pool._open == 0


async def test_an_instance_that_speaks_before_it_is_asked_is_not_listened_to(
    pools: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = UpstreamConnection.connection_made

    def make_and_hear(self: UpstreamConnection, transport: asyncio.BaseTransport) -> None:
        made(self, transport)
        self.data_received(OK)

    monkeypatch.setattr(UpstreamConnection, "connection_made", make_and_hear)
    pool = pools()
    with pytest.raises(UpstreamReset) as caught:
        await pool.send(make_attempt())
    assert not caught.value.sent
    assert pool._open == 0


async def test_an_answer_that_takes_too_long(
    pools: MakePool, origin: RawOrigin, clock: FakeClock
) -> None:
    pool = pools()
    response = sending(pool, make_attempt(first_byte=5))
    wire = await origin.accept()
    await wire.read_head()
    clock.advance(5)
    with pytest.raises(UpstreamTimeout):
        await response
    assert await wire.read_to_end() == b""


async def test_the_exchange_s_deadline_counts_while_the_body_is_read(
    pools: MakePool, origin: RawOrigin, clock: FakeClock
) -> None:
    response = sending(pools(), make_attempt(deadline=clock() + 5, between_bytes=60))
    await answered(await origin.accept(), OK[:-1])
    message = await response
    clock.advance(5)
    with pytest.raises(UpstreamTimeout, match="deadline"):
        await read_body(message)


async def test_a_reset_in_the_middle_of_a_body(pools: MakePool, origin: RawOrigin) -> None:
    response = sending(pools())
    wire = await origin.accept()
    await answered(wire, b"HTTP/1.1 200 OK\r\n\r\nhello")
    message = await response
    assert isinstance(message.body, Body)
    assert await message.body.read() == b"hello"
    wire.reset()
    with pytest.raises(UpstreamReset):
        await message.body.read()


async def test_an_expected_request_body_waits_for_the_instance(
    pools: MakePool, origin: RawOrigin
) -> None:
    body = stream(b"hello", length=5)
    attempt = make_attempt("POST", body=body, expects_continue=True, expect=60)
    response = sending(pools(), attempt)
    wire = await origin.accept()
    await wire.read_head()
    assert body.ready
    wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert await wire.read(5) == b"hello"
    wire.send(OK)
    assert (await response).status == 200


async def test_an_expected_request_body_waits_only_so_long(
    pools: MakePool, origin: RawOrigin
) -> None:
    body = stream(b"hello", length=5)
    attempt = make_attempt("POST", body=body, expects_continue=True, expect=0.01)
    response = sending(pools(), attempt)
    wire = await origin.accept()
    await wire.read_head()
    assert await wire.read(5) == b"hello"
    wire.send(OK)
    assert (await response).status == 200


async def test_a_request_body_that_nobody_wants_is_not_sent(
    pools: MakePool, origin: RawOrigin
) -> None:
    body = stream(b"hello", length=5)
    attempt = make_attempt("POST", body=body, expects_continue=True, expect=60)
    response = sending(pools(), attempt)
    wire = await origin.accept()
    await answered(wire, b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
    assert (await response).status == 417
    assert await wire.read_to_end() == b""


class Uploading(NamedTuple):
    """A request with a body that is on its way."""

    response: asyncio.Task[Response]
    wire: Wire
    connection: UpstreamConnection


async def upload(
    pool: Pool, origin: RawOrigin, sweeper: Sweeper, size: int, **seconds: float
) -> Uploading:
    """Send so many bytes to an instance, which has read the head."""
    attempt = make_attempt("POST", body=stream(bytes(size), length=size), **seconds)
    response = sending(pool, attempt)
    wire = await origin.accept()
    await wire.read_head()
    (connection,) = (one for one in sweeper._watched if isinstance(one, UpstreamConnection))
    return Uploading(response, wire, connection)


async def test_an_instance_that_takes_a_little_of_a_body_each_time_is_waited_for(
    pools: MakePool, origin: RawOrigin, sweeper: Sweeper, clock: FakeClock
) -> None:
    """So little that nothing more is written: that begins when most of what there is has gone."""
    size, taken = 20_000_000, 0
    response, wire, connection = await upload(
        pools(), origin, sweeper, size, write=30, first_byte=10
    )
    await until(lambda: connection.expires_at == clock() + 30)

    body = connection._upload
    assert body is not None

    async def take_some_in(seconds: float) -> None:
        nonlocal taken
        while count_taken(connection._transport) <= body._taken:
            taken += len(await wire.read(500_000))
        clock.advance(seconds)
        await until(lambda: response.done() or connection.expires_at > clock())

    while uploading(connection):
        await take_some_in(30)
    await take_some_in(10)  # nor has the last byte left while it waits here
    await wire.read(size - taken)
    wire.send(OK)
    assert (await response).status == 200


async def test_an_instance_that_takes_no_more_of_a_body_is_given_up(
    pools: MakePool, origin: RawOrigin, sweeper: Sweeper, clock: FakeClock
) -> None:
    response, wire, connection = await upload(pools(), origin, sweeper, 20_000_000, write=30)
    await until(lambda: connection.expires_at == clock() + 30)
    await wire.read(500_000)
    wire.stop_reading()
    clock.advance(30)
    await until(lambda: connection.expires_at == clock() + 30)
    clock.advance(30)
    with pytest.raises(UpstreamTimeout, match="timed out in head") as caught:
        await response
    assert caught.value.instance_failed


async def test_an_instance_that_has_taken_the_whole_body_has_the_time_of_an_answer(
    pools: MakePool, origin: RawOrigin, sweeper: Sweeper, clock: FakeClock
) -> None:
    size = 1_000_000
    response, wire, connection = await upload(pools(), origin, sweeper, size, first_byte=10)
    await wire.read(size)
    await until(lambda: not uploading(connection))
    clock.advance(10)
    with pytest.raises(UpstreamTimeout, match="timed out in head"):
        await response


async def test_a_closed_pool_lets_its_exchanges_end(pools: MakePool, origin: RawOrigin) -> None:
    pool = pools(max_connections=1)
    idle = await exchanged(pool, origin)
    pool.close()
    assert await idle.read_to_end() == b""
    tasks = [sending(pool), sending(pool)]
    for task in tasks:
        wire = await origin.accept()
        await answered(wire)
        assert (await task).status == 200
        assert await wire.read_to_end() == b""


def after_giving_back(pool: Pool, then: Callable[[UpstreamConnection], object]) -> None:
    """Let something happen in the turn of the loop in which a connection comes free."""
    give_back = pool.give_back

    def replaced(connection: UpstreamConnection) -> None:
        give_back(connection)
        pool.give_back = give_back  # type: ignore[method-assign]
        then(connection)

    pool.give_back = replaced  # type: ignore[method-assign]


def before_giving_back(pool: Pool, then: Callable[[UpstreamConnection], object]) -> None:
    """Let something happen in that turn just before the connection comes free."""
    give_back = pool.give_back

    def replaced(connection: UpstreamConnection) -> None:
        pool.give_back = give_back  # type: ignore[method-assign]
        then(connection)
        give_back(connection)

    pool.give_back = replaced  # type: ignore[method-assign]


async def test_a_connection_that_died_on_its_way_to_who_waits_is_replaced(
    pools: MakePool, origin: RawOrigin
) -> None:
    pool = pools(max_connections=1)
    first, second = sending(pool), sending(pool, make_attempt("POST", body=b"hello"))
    wire = await origin.accept()
    after_giving_back(pool, lambda connection: connection.close())
    await answered(wire)
    assert (await first).status == 200
    await answered(await origin.accept())
    assert (await second).status == 200


@pytest.mark.parametrize("leaves", [before_giving_back, after_giving_back])
async def test_a_connection_that_comes_as_who_waits_leaves_goes_to_the_next(
    pools: MakePool, origin: RawOrigin, leaves: Callable[..., None]
) -> None:
    pool = pools(max_connections=1)
    first, second, third = sending(pool), sending(pool), sending(pool)
    wire = await origin.accept()
    leaves(pool, lambda _: second.cancel())
    await answered(wire)
    assert (await first).status == 200
    await answered(wire)
    assert (await third).status == 200
    assert second.cancelled()
    assert origin.accepted == 1


async def test_a_connection_that_came_too_late_and_died_is_not_kept(
    pools: MakePool, origin: RawOrigin
) -> None:
    pool = pools(max_connections=1)
    first, second = sending(pool), sending(pool)
    wire = await origin.accept()

    def cancel_and_lose(connection: UpstreamConnection) -> None:
        second.cancel()
        connection.close()

    after_giving_back(pool, cancel_and_lose)
    await answered(wire)
    assert (await first).status == 200
    await asyncio.wait([second])
    assert second.cancelled()
    assert (pool._open, pool._idle, pool.active) == (0, [], 0)


async def test_active_counts_exchanges_until_their_last_byte(
    pools: MakePool, origin: RawOrigin
) -> None:
    pool = pools()
    assert pool.active == 0
    response = sending(pool)
    wire = await origin.accept()
    assert pool.active == 1
    await answered(wire, OK[:-1])
    message = await response
    assert pool.active == 1
    wire.send(OK[-1:])
    assert await read_body(message) == b"ok"
    assert pool.active == 0
    assert repr(pool) == f"<pool of {origin.url}: 1 open, 1 idle>"


async def test_closing_a_connection_twice_counts_it_once(
    pools: MakePool, origin: RawOrigin
) -> None:
    pool = pools()
    await exchanged(pool, origin)
    (connection,) = pool._idle
    connection.close()
    connection.close()
    connection.connection_lost(None)
    assert connection.state == CLOSED
    assert pool._open == 0

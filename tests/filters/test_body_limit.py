"""body_limit: what is refused at once, and what while it streams."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gatewayd import Body, Exchange, Headers, Reject, Response
from gatewayd.testing import Recorder, make_exchange, running
from gatewayd_filters.body_limit import BodyLimit, BodyLimitConfig


class Pieces(Body):
    """A streamed body that knows how far it has been read and whether it was closed."""

    def __init__(self, *pieces: bytes, length: int | None = None) -> None:
        super().__init__(length)
        self.pieces = list(pieces)
        self.closed = False

    async def read(self) -> bytes:
        if self.pieces:
            return self.pieces.pop(0)
        self.trailers = Headers.of([("Digest", "x")])
        return b""

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"12345", id="whole"),
        pytest.param(Pieces(b"123", b"45", length=5), id="declared"),
        pytest.param(Pieces(b"123", b"45"), id="chunked"),
    ],
)
async def test_lets_a_body_of_the_limit_pass(body: bytes | Body) -> None:
    upstream = Recorder()
    async with running(BodyLimit, {"max_bytes": 5}) as body_limit:
        await body_limit(make_exchange("POST", body=body), upstream)
    assert upstream.bodies == [b"12345"]


@pytest.mark.parametrize(
    "body",
    [pytest.param(b"123456", id="whole"), pytest.param(Pieces(length=6), id="declared")],
)
async def test_refuses_a_declared_length_before_anything_goes_upstream(body: bytes | Body) -> None:
    upstream = Recorder()
    async with running(BodyLimit, {"max_bytes": 5}) as body_limit:
        with pytest.raises(Reject) as caught:
            await body_limit(make_exchange("POST", body=body), upstream)
    assert (caught.value.status, caught.value.code) == (413, "body_too_large")
    assert not upstream.exchanges


@pytest.mark.parametrize("resumable", [True, False])
async def test_a_cancelled_read_loses_what_it_loses_at_the_source(resumable: bool) -> None:
    class Source(Pieces):
        @property
        def resumable(self) -> bool:
            return resumable

    async def upstream(exchange: Exchange) -> Response:
        assert isinstance(exchange.request.body, Body)
        assert exchange.request.body.resumable is resumable
        return Response(200)

    async with running(BodyLimit, {"max_bytes": 5}) as body_limit:
        await body_limit(make_exchange("POST", body=Source(b"1")), upstream)


async def test_fails_a_chunked_body_at_the_first_piece_too_many() -> None:
    source = Pieces(b"123", b"456", b"789")
    exchange = make_exchange("POST", body=source)
    async with running(BodyLimit, {"max_bytes": 5}) as body_limit:
        with pytest.raises(Reject) as caught:
            await body_limit(exchange, Recorder())
    assert (caught.value.status, caught.value.code) == (413, "body_too_large")
    assert source.pieces == [b"789"]


async def test_keeps_failing_once_exceeded() -> None:
    exchange = make_exchange("POST", body=Pieces(b"123456", b"7"))
    async with running(BodyLimit, {"max_bytes": 5}) as body_limit:
        with pytest.raises(Reject):
            await body_limit(exchange, Recorder())
    assert isinstance(exchange.request.body, Body)
    with pytest.raises(Reject):
        await exchange.request.body.read()


async def test_closing_a_counted_body_closes_its_source() -> None:
    source = Pieces(b"1")
    async with running(BodyLimit) as body_limit:
        await body_limit(make_exchange("POST", body=source), Recorder())
    assert source.closed


async def test_passes_trailers_on() -> None:
    exchange = make_exchange("POST", body=Pieces(b"1"))
    async with running(BodyLimit) as body_limit:
        await body_limit(exchange, Recorder())
    assert isinstance(exchange.request.body, Body)
    assert exchange.request.body.trailers == Headers.of([("Digest", "x")])


async def test_zero_allows_no_body_at_all() -> None:
    async with running(BodyLimit, {"max_bytes": 0}) as body_limit:
        assert (await body_limit(make_exchange("GET"), Recorder())).status == 200
        with pytest.raises(Reject):
            await body_limit(make_exchange("POST", body=b"1"), Recorder())
        with pytest.raises(Reject):
            await body_limit(make_exchange("POST", body=Pieces(b"1")), Recorder())


async def test_does_not_read_before_the_upstream_does() -> None:
    source = Pieces(b"1", b"2")
    pieces = []

    async def forward(exchange: Exchange) -> Response:
        assert isinstance(exchange.request.body, Body)
        pieces.append(await exchange.request.body.read())
        return Response(200)

    async with running(BodyLimit) as body_limit:
        await body_limit(make_exchange("POST", body=source), forward)
    assert (pieces, source.pieces) == ([b"1"], [b"2"])


@pytest.mark.parametrize(
    ("text", "count"), [(1000, 1000), ("10MB", 10_000_000), ("2MiB", 2_097_152), ("0", 0)]
)
def test_reads_sizes(text: object, count: int) -> None:
    assert BodyLimitConfig.model_validate({"max_bytes": text}).max_bytes == count


@pytest.mark.parametrize("text", [-1, "-1", "much", "10 parsecs", True])
def test_refuses_what_is_no_size(text: object) -> None:
    with pytest.raises(ValidationError):
        BodyLimitConfig.model_validate({"max_bytes": text})

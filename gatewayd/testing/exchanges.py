"""Exchanges made by hand, and a stand-in for everything behind a filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from gatewayd.exchange import Context, Exchange, Peer, Request, Response
from gatewayd.headers import Headers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatewayd.body import Body

Answer: TypeAlias = "Response | Exception | Callable[[Exchange], Response]"
"""What a :class:`Recorder` does: return a copy of a response, raise, or return what is computed."""


def make_exchange(
    method: str = "GET",
    target: str = "/",
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    body: bytes | Body = b"",
    host: str = "gateway.example",
    peer: Peer | str = "192.0.2.1",
    params: Mapping[str, str] | None = None,
    values: Mapping[Context, Any] | None = None,
    received_at: float = 1000.0,
) -> Exchange:
    """Make the exchange of a request that has just arrived.

    Args:
        method: Method.
        target: Path, as it is after normalisation, and query.
        headers: Header fields, without Host; pairs where one name has several lines.
        body: Body: all of it, or a stream.
        host: Host, with a port if there is one.
        peer: The client, or its address.
        params: Path parameters, as ``route_match`` would set them.
        values: Whatever else earlier filters would have set, by attribute or key.
        received_at: Seconds, by the clock that the gateway is made with.

    """
    path, mark, query = target.partition("?")
    request = Request(
        method,
        path,
        query=query if mark else None,
        host=host.partition(":")[0],
        authority=host,
        headers=Headers.of([("Host", host), *pairs(headers)]),
        body=body,
        peer=Peer(peer) if isinstance(peer, str) else peer,
        target=target,
    )
    exchange = Exchange(request, received_at=received_at)
    if params is not None:
        exchange.params = params
    for key, value in (values or {}).items():
        if isinstance(key, str):
            setattr(exchange, key, value)
        else:
            exchange[key] = value
    return exchange


def pairs(
    fields: Mapping[str, str] | Iterable[tuple[str, str]],
) -> Iterable[tuple[str, str]]:
    """Return header fields as pairs, however a test has written them."""
    return fields.items() if isinstance(fields, Mapping) else fields


async def read_body(message: Request | Response) -> bytes:
    """Read the whole body of a request or response, and close it."""
    body = message.body
    if isinstance(body, bytes):
        return body
    try:
        return b"".join([piece async for piece in body])
    finally:
        await body.aclose()


class Recorder:
    """Stands for the filters that follow and for the upstream: reads, records and answers.

    Args:
        answers: What it does, one after another; the last one again and again. An empty 200 where
            there is none.

    Attributes:
        exchanges: The exchanges that reached it.
        bodies: The body of each one's request.

    """

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers) or [Response(200)]
        self.exchanges: list[Exchange] = []
        self.bodies: list[bytes] = []

    @property
    def request(self) -> Request:
        """The request of the exchange that reached it last."""
        return self.exchanges[-1].request

    async def __call__(self, exchange: Exchange) -> Response:
        """Be the ``forward`` of a filter."""
        self.exchanges.append(exchange)
        self.bodies.append(await read_body(exchange.request))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Response):
            # A copy: filters change the response that they get.
            return Response(answer.status, answer.headers.copy(), answer.body, tunnel=answer.tunnel)
        return answer(exchange)

"""A whole gateway without sockets: real configuration, routing, pipeline and filters.

What is missing is the server before the pipeline and the connection behind it: requests are handed
in, and whatever would go to an instance is answered by a function of the test.
"""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gatewayd.config.load import load
from gatewayd.errors import Reject, problem_response
from gatewayd.exchange import Exchange, Response, new_request_id
from gatewayd.filter import Filter
from gatewayd.generation import Generations
from gatewayd.headers import Headers
from gatewayd.registry import Plugins, Registry
from gatewayd.server.entry import make_request
from gatewayd.server.response import NONE, frame
from gatewayd.testing.clock import FakeClock
from gatewayd.testing.exchanges import Recorder, pairs, read_body
from gatewayd.timers import Sweeper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from gatewayd.body import Body
    from gatewayd.config.load import LoadedConfig
    from gatewayd.ended import EndedExchanges
    from gatewayd.filter import Forward
    from gatewayd.pipeline import Pipeline
    from gatewayd.timers import Clock

T = TypeVar("T")
HTTP_1_1 = (1, 1)


class InMemoryGateway:
    """A running gateway that tests hand requests to; see :func:`in_memory`."""

    def __init__(self, generations: Generations, clock: Clock) -> None:
        self._generations = generations
        self._clock = clock

    @property
    def pipeline(self) -> Pipeline:
        """The filters of the running generation, for who makes exchanges of its own."""
        return self._generations.current.pipeline

    @property
    def ended(self) -> EndedExchanges:
        """Takes notice of those exchanges when they have ended."""
        return self._generations.current.gateway.ended

    async def send(
        self,
        method: str = "GET",
        target: str = "/",
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes | Body = b"",
        host: str = "gateway.example",
        peer: str = "192.0.2.1",
    ) -> Response:
        """Run a request through the gateway; return the response, its body read.

        There is none where a client would get none, such as for HEAD.

        Args:
            method: Method.
            target: Request target, as a client would send it.
            headers: Header fields, without Host; pairs where one name has several lines.
            body: Body: all of it, or a stream.
            host: Host, with a port if there is one.
            peer: Address of the socket's other end.

        """
        generation = self._generations.current
        entry = generation.entry
        lines = Headers.of([("Host", host), *pairs(headers)]).raw
        try:
            fields = entry.check(lines, HTTP_1_1, entry.peer(peer, 0, "http", None))
            request = make_request(entry.line_of(method, target.encode(), HTTP_1_1), fields)
        except Reject as reject:
            return problem_response(reject, new_request_id())
        request.body = body
        exchange = Exchange(request, received_at=self._clock())
        error: BaseException | None = None
        try:
            response = await generation.pipeline(exchange)
            framing, _ = frame(response, method, HTTP_1_1)
            response.body = sent = await _what_is_sent(response, framing)
            exchange.sent = len(sent)
        except BaseException as failure:
            error = failure
            raise
        finally:
            failures = exchange.finish(error)
            generation.gateway.ended.add(exchange, error)
            generation.gateway.ended.flush()
        if failures:
            raise ExceptionGroup("callbacks of on_finish failed", failures)
        return response


async def _what_is_sent(response: Response, framing: str) -> bytes:
    """Read the body as the server does: not at all where a client gets none."""
    if framing != NONE:
        return await read_body(response)
    if not isinstance(response.body, bytes):
        await response.body.aclose()
    return b""


@asynccontextmanager
async def in_memory(
    config: str,
    *,
    upstream: Forward | None = None,
    filters: Iterable[type[Filter[Any]]] = (),
    clock: Clock | None = None,
) -> AsyncIterator[InMemoryGateway]:
    """Run a gateway with this configuration.

    Args:
        config: The configuration, as TOML.
        upstream: Answers instead of the instances; a :class:`Recorder` where absent.
        filters: Filters beside the installed ones, or in their place.
        clock: The gateway's clock; a :class:`FakeClock` where absent.

    Raises:
        ConfigError: the configuration cannot be used.
        GatewayError: the gateway does not start with it.

    """
    installed = Plugins()
    answering = _answering(installed.filters.load("upstream"), upstream or Recorder())
    local = {plugin.name: plugin for plugin in (answering, *filters)}
    plugins = Plugins(filters=_Overlay("gatewayd.filters", Filter, local))
    loaded = _load(config, plugins)
    sweeper = Sweeper(clock=clock or FakeClock())
    generations = Generations(plugins, sweeper)
    try:
        await generations.adopt(loaded)
        yield InMemoryGateway(generations, sweeper.clock)
    finally:
        await generations.close()
        sweeper.close()


def _load(config: str, plugins: Plugins) -> LoadedConfig:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "gateway.toml")
        path.write_text(config, encoding="utf-8")
        return load(path, environ={}, plugins=plugins)


def _answering(upstream: type[Filter[Any]], answer: Forward) -> type[Filter[Any]]:
    """Derive an upstream filter, with its settings and requirements, that sends nothing."""

    async def call(_: Filter[Any], exchange: Exchange, __: Forward) -> Response:
        return await answer(exchange)

    return type("InMemoryUpstream", (upstream,), {"__call__": call, "__doc__": upstream.__doc__})


class _Overlay(Registry[T]):
    """The installed plugins of a group, with classes of a test over them."""

    def __init__(self, group: str, base: type[T], local: Mapping[str, type[T]]) -> None:
        super().__init__(group, base)
        self._local = local

    @property
    def names(self) -> list[str]:
        return sorted({*super().names, *self._local})

    def load(self, name: str) -> type[T]:
        return self._local[name] if name in self._local else super().load(name)

    def __contains__(self, name: str) -> bool:
        return name in self._local or super().__contains__(name)

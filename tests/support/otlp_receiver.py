"""A receiver of OTLP over HTTP, as a collector is one: keeps the spans that it is sent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span


class OtlpReceiver:
    """Takes spans on a free port of 127.0.0.1.

    Attributes:
        spans: All that have come.
        resource: Attributes of the resource that sent the last ones.
        requests: Header fields of each request.
        silent: Whether it takes requests and answers none.

    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resource: dict[str, Any] = {}
        self.requests: list[dict[str, str]] = []
        self.silent = False
        self._arrival = asyncio.Condition()
        self._release = asyncio.Event()

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(application, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._release.set()
        await self._runner.cleanup()

    @property
    def endpoint(self) -> str:
        """What ``tracing.endpoint`` is to be."""
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}/v1/traces"

    async def wait_for(self, count: int) -> list[Span]:
        """Return the spans as soon as there are so many."""
        async with asyncio.timeout(10), self._arrival:
            await self._arrival.wait_for(lambda: len(self.spans) >= count)
        return self.spans

    async def _take(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        if self.silent:
            await self._release.wait()
        async with self._arrival:
            self.requests.append(dict(request.headers))
            for sent in message.resource_spans:
                self.resource = attributes(sent.resource)
                for scope in sent.scope_spans:
                    self.spans += scope.spans
            self._arrival.notify_all()
        return web.Response(content_type="application/x-protobuf")


def attributes(holder: Any) -> dict[str, Any]:
    """Return the attributes of a span or resource."""
    return {
        one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in holder.attributes
    }

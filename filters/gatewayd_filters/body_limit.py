"""Refuse request bodies that are too large.

A declared length is judged before anything goes upstream. A chunked body declares none: it is
counted while it streams, and reading it fails at the first byte too many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ByteSize, Field

from gatewayd import Body, Filter, FilterConfig, Reject

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gatewayd import Exchange, Forward, Gateway, Response


class BodyLimitConfig(FilterConfig):
    """Settings of `body_limit`. `body_limit = false` on a route lifts the limit there."""

    max_bytes: ByteSize = Field(default=ByteSize(10 * 1024 * 1024), ge=0)
    """Bytes of a request body, as a number or as `"10MB"` (powers of 1000) or `"10MiB"` (powers of
    1024); above it: 413. 0 allows no body at all. AWS API Gateway has 10 MB; nginx 1 MB, where 0
    means no limit."""


class _CountedBody(Body):
    """A body of undeclared length that fails to be read once it exceeds what is allowed."""

    __slots__ = ("_left", "_source")

    def __init__(self, source: Body, allowed: int) -> None:
        super().__init__()
        self._source = source
        self._left = allowed

    @property
    def resumable(self) -> bool:
        """See :attr:`gatewayd.Body.resumable`."""
        return self._source.resumable

    async def read(self) -> bytes:
        """See :meth:`gatewayd.Body.read`.

        Raises:
            Reject: 413, now and on every further read.

        """
        if self._left >= 0:
            piece = await self._source.read()
            self._left -= len(piece)
            if self._left >= 0:
                self.trailers = self._source.trailers
                return piece
        raise _too_large()

    async def aclose(self) -> None:
        """See :meth:`gatewayd.Body.aclose`."""
        await self._source.aclose()


class BodyLimit(Filter[BodyLimitConfig]):
    """Refuse a request whose body exceeds ``max_bytes``."""

    name = "body_limit"
    Config = BodyLimitConfig

    def __init__(self, config: BodyLimitConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._allowed = int(config.max_bytes)

    def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:
        """See :meth:`gatewayd.Filter.__call__`.

        Raises:
            Reject: 413 ``body_too_large``, here or from reading the body.

        """
        body = exchange.request.body
        if isinstance(body, bytes):
            declared = len(body)
        elif body.length is not None:
            declared = body.length
        else:
            declared = 0
            exchange.request.body = _CountedBody(body, self._allowed)
        if declared > self._allowed:
            raise _too_large()
        return forward(exchange)


def _too_large() -> Reject:
    return Reject(413, "body_too_large", "The request body is larger than what is allowed here.")

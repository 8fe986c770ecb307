"""The method ``jwt`` without a server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from gatewayd.testing import make_exchange, make_gateway
from gatewayd_filters.auth.jwt import Jwt, JwtConfig
from tests.support.tokens import NOW, SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayd import Gateway, Principal


class Caller:
    """Shows tokens to a running method."""

    def __init__(self, method: Jwt) -> None:
        self.method = method
        self.now = NOW
        method._now = lambda: self.now  # the Unix clock, which `exp` is about

    async def show(self, token: bytes) -> Principal:
        """Have a token judged as the filter does it."""
        return self.method.remembered(token) or await self.method.verify(token, make_exchange())


@asynccontextmanager
async def jwt_method(
    settings: dict[str, Any] | None = None, gateway: Gateway | None = None
) -> AsyncIterator[Caller]:
    """Run the method; with HS256 and the tests' secret where no keys are given."""
    given = {"algorithms": ["HS256"], **(settings or {})}
    if not given.keys() & {"secret", "public_key", "jwks", "jwks_url"}:
        given["secret"] = SECRET
    host = gateway or make_gateway()
    method = Jwt(JwtConfig.model_validate(given), host)
    try:
        await method.start()
        yield Caller(method)
    finally:
        await method.close()
        assert await host.close() == []

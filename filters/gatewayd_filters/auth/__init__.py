"""Authentication: who calls, by one of several kinds of credential.

How a kind of credential is judged is a method, a plugin of its own. Here is what holds for all: the
order in which they are asked, what becomes of requests that show nothing or something wrong, and
what the upstream is told.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from gatewayd import AuthUnavailable, Filter, InvalidCredential, Principal
from gatewayd_filters.auth.config import AuthConfig
from gatewayd_filters.auth.methods import Methods
from gatewayd_filters.auth.refusals import Challenges, Refusals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gatewayd import AuthMethod, Exchange, Forward, Gateway, Response

    Source: TypeAlias = Callable[[Exchange], bytes | None]

__all__ = ["Auth", "AuthConfig"]


def _required(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, bool):
        raise TypeError("expected true or false")
    return {"required": value}


def _sources(method: AuthMethod[Any], config: AuthConfig) -> tuple[Source, ...]:
    """Return where a method looks for its credential; whoever asks takes it out of the request."""
    if config.allow_query:
        return method.credential, method.query_credential
    return (method.credential,)


class Auth(Filter[AuthConfig]):
    """Let only callers pass who have shown a valid credential, and tell later filters who it is."""

    name = "auth"
    Config = AuthConfig
    provides = frozenset({"principal"})
    route_keys: ClassVar[Mapping[str, Callable[[Any], Mapping[str, Any]]]] = {
        "auth_required": _required
    }

    def __init__(self, config: AuthConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        # One of each for the routes of a generation; with it in the key, none outlives it.
        self._shared = gateway.keep(("auth methods", gateway), partial(Methods, gateway))
        self._refusals = gateway.keep(("auth refusals", gateway), partial(Refusals, gateway))
        installed = self._shared.of(config)
        methods = [one for one in installed if not config.accept or one.name in config.accept]
        self._challenges = Challenges(methods, config.realm)
        self._required = config.required
        self._forwards = config.forward_headers
        self._sources = tuple((one, source) for one in methods for source in _sources(one, config))
        # What the route does not accept is asked for as well, so that it does not go upstream.
        others = [one for one in installed if one not in methods]
        self._others = tuple(source for one in others for source in _sources(one, config))
        counter = self._refusals.counter
        self._accepted = {one: counter.labels(one.name, "accepted") for one in methods}

    async def start(self) -> None:
        """Start the methods; they are closed with the generation, as other routes share them."""
        await self._shared.start()

    def __call__(self, exchange: Exchange, forward: Forward) -> Awaitable[Response]:
        """See :meth:`gatewayd.Filter.__call__`.

        Raises:
            Reject: 401 where a credential is missing or wrong, 503 ``authentication_unavailable``
                where it cannot be judged.

        """
        method: AuthMethod[Any] | None = None
        credential: bytes | None = None
        ambiguous = False
        # All of them are asked, as a credential that decides nothing must not go upstream either.
        for one, source in self._sources:
            shown = source(exchange)
            if shown is not None:
                if method is None:
                    method, credential = one, shown
                elif method is one:
                    ambiguous = True
        for source in self._others:
            source(exchange)
        if self._required is not None:
            exchange.auth_required = self._required
        if method is None or credential is None:
            if self._required is False or exchange.preflight:
                return forward(exchange)
            raise self._refusals.missing(self._challenges)
        principal = None if ambiguous else method.remembered(credential)
        if principal is None:
            return self._verify_first(method, credential, exchange, forward, ambiguous=ambiguous)
        self._accept(method, principal, exchange)
        return forward(exchange)

    def _accept(self, method: AuthMethod[Any], principal: Principal, exchange: Exchange) -> None:
        self._accepted[method].value += 1
        exchange.principal = principal
        if self._forwards:
            exchange.request.headers.extend_with(principal.forward_headers)

    async def _verify_first(
        self,
        method: AuthMethod[Any],
        credential: bytes,
        exchange: Exchange,
        forward: Forward,
        *,
        ambiguous: bool,
    ) -> Response:
        principal = await self._verify(method, credential, exchange, ambiguous=ambiguous)
        self._accept(method, principal, exchange)
        return await forward(exchange)

    async def _verify(
        self, method: AuthMethod[Any], credential: bytes, exchange: Exchange, *, ambiguous: bool
    ) -> Principal:
        refuse = self._refusals.invalid
        if ambiguous:  # in a field and in the query
            raise refuse(method.name, InvalidCredential("ambiguous"), exchange, self._challenges)
        try:
            principal = await method.verify(credential, exchange)
        except InvalidCredential as why:
            raise refuse(method.name, why, exchange, self._challenges) from None
        except AuthUnavailable as why:
            raise self._refusals.unavailable(method.name, why) from why
        if not isinstance(principal, Principal):
            # A plugin that forgot to return or to refuse must let nobody in.
            raise TypeError(f"{method!r} verified a credential and returned {principal!r}")
        return principal

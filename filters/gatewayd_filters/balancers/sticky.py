"""Balancer ``sticky``: a client stays with its instance, by a cookie that the gateway sets.

The cookie holds a keyed hash of the instance's URL. Without the key nobody can tell which address
it stands for, not even by trying all of a network, and nobody can make one up: a value that is none
of the present instances' is as good as no cookie. Nothing is stored, so workers, nodes and restarts
agree as long as they have the same secret.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, SecretStr

from gatewayd import Balancer, ConfigError, ConfigIssue, StrategyConfig
from gatewayd_filters.balancers.client_key import cookie
from gatewayd_filters.balancers.per_list import PerList
from gatewayd_filters.balancers.strategy import Strategy, prepare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayd import Exchange, Gateway, Instance, Response

_TOKEN_BYTES = 12  # 96 bits


class StickyConfig(StrategyConfig):
    """Settings of `sticky`."""

    secret: Annotated[SecretStr, Field(min_length=16)]
    """Key of the hash in the cookie, 16 characters or more, the same on all nodes."""
    cookie: str = Field("", pattern=r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]*$")
    """Name of the cookie. By default `gatewayd-` and a hash of the service's name, so that services
    behind one host name do not take each other's."""
    max_age: int | None = Field(None, ge=1, le=34_560_000)
    """Seconds that browsers keep the cookie; until they are closed where absent. At most 400 days,
    as RFC 6265bis has it."""
    path: str = Field("/", pattern=r"^/[!-:<-~]*$")
    """Path that the cookie is sent for."""
    same_site: Literal["lax", "strict", "none"] = "lax"
    """SameSite attribute. `none` is sent with Secure, as browsers demand."""
    secure: bool | None = None
    """Secure attribute; by default where the client came by https."""
    fallback: Strategy = "least_connections"
    """Strategy for clients that have no instance yet, or whose instance is away."""


class Sticky(Balancer):
    """Keeps a client with its instance, by a cookie that tells nothing about it.

    A client without cookie, or whose instance cannot be used, gets one by the strategy `fallback`.
    """

    name = "sticky"
    Config = StickyConfig
    affinity = True

    def __init__(self, config: StickyConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._key = config.secret.get_secret_value().encode()[:64]
        self._own_cookie = f"{config.cookie}=".encode() if config.cookie else b""
        self._fallback = prepare(config.fallback, gateway, "strategy.fallback")()
        if self._fallback.affinity:
            message = f"{self._fallback.name!r} keeps clients to instances itself"
            raise ConfigError(ConfigIssue(message, key="strategy.fallback"))
        # Hashes, as they are the same for every list; bounded, as addresses come and go.
        self._hash = lru_cache(maxsize=8192)(self._compute_hash)
        self._tokens = PerList(self._by_token)

    def pick(self, instances: Sequence[Instance], exchange: Exchange) -> Instance:
        """See :meth:`gatewayd.Balancer.pick`."""
        token = cookie(exchange, self._cookie(instances[0].service))
        chosen = None if token is None else self._tokens(instances).get(token)
        return self._fallback.pick(instances, exchange) if chosen is None else chosen

    def done(self, instance: Instance, seconds: float, error: BaseException | None) -> None:
        """Pass on to the fallback; see :meth:`gatewayd.Balancer.done`."""
        self._fallback.done(instance, seconds, error)

    def answered(self, instance: Instance, exchange: Exchange, response: Response) -> None:
        """Set the cookie, unless the client has it; see :meth:`gatewayd.Balancer.answered`."""
        start, token = self._cookie(instance.service), self._hash(b"instance", instance.url)
        if cookie(exchange, start) != token:
            attributes = self._attributes(exchange.request.peer.scheme)
            response.headers.add("Set-Cookie", f"{(start + token).decode()}; {attributes}")
        self._fallback.answered(instance, exchange, response)

    def _attributes(self, scheme: str) -> str:
        config = self.config
        parts = [f"Path={config.path}", "HttpOnly", f"SameSite={config.same_site.capitalize()}"]
        if config.max_age is not None:
            parts.append(f"Max-Age={config.max_age}")
        secure = scheme == "https" if config.secure is None else config.secure
        if secure or config.same_site == "none":
            parts.append("Secure")
        return "; ".join(parts)

    def _cookie(self, service: str) -> bytes:
        """Return how the cookie starts: its name and ``=``."""
        if self._own_cookie:
            return self._own_cookie
        return b"gatewayd-%b=" % self._hash(b"service", service)[:8]

    def _by_token(self, instances: Sequence[Instance]) -> Mapping[bytes, Instance]:
        return {self._hash(b"instance", one.url): one for one in instances}

    def _compute_hash(self, kind: bytes, text: str) -> bytes:
        digest = blake2b(text.encode(), digest_size=_TOKEN_BYTES, key=self._key, person=kind)
        return digest.hexdigest().encode()

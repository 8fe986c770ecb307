"""Cross-origin resource sharing, as the Fetch standard describes it (section 3.3).

Without ``allow_origins`` the filter is silent, and services may handle CORS themselves. With it the
gateway decides alone: preflights end here, and an upstream's own ``Access-Control-*`` fields are
dropped. CORS tells browsers which pages may *read* a response; it does not keep requests out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, model_validator

from gatewayd import Filter, FilterConfig, HeaderName, Headers, Reject, Response
from gatewayd_filters.cors.origins import Origins, checked_origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayd import Exchange, Forward, Gateway

_CONTROLS = (
    "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials",
    "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age",
    "Access-Control-Expose-Headers", "Access-Control-Allow-Private-Network",
)  # fmt: skip
_CONTROL_KEYS = frozenset(name.lower().encode() for name in _CONTROLS)
# Origins that nobody lists on purpose: a pattern that matches one of them matches any.
_STRANGERS = (b"https://stranger.invalid", b"http://stranger.invalid:81")


class CorsConfig(FilterConfig):
    """Settings of `cors`."""

    allow_origins: tuple[Annotated[str, AfterValidator(checked_origin)], ...] = ()
    r"""Origins whose pages may read responses: exact (`https://app.example.org`), any name below a
    domain (`https://*.example.org`), a regular expression that matches the whole origin
    (`~https://[a-z]+-preview\.example\.org`), or `*` for all. The origin `null`, which sandboxed
    pages and files have, needs to be listed or `*`. Where empty, the filter does nothing."""
    allow_methods: tuple[Annotated[str, Field(pattern=r"^([A-Z]+|\*)$")], ...] = (
        "GET", "HEAD", "PUT", "PATCH", "POST", "DELETE",
    )  # fmt: skip
    """Methods that a preflight grants; `*` for all. The default of Express."""
    allow_headers: tuple[HeaderName, ...] = ()
    """Request fields that a preflight grants beside those that Fetch always allows. `*` stands for
    all but `Authorization`, which must be named."""
    expose_headers: tuple[HeaderName, ...] = ()
    """Response fields that pages may read beside those that Fetch always shows; `*` for all."""
    allow_credentials: bool = False
    """Whether pages may send cookies and client certificates. Excludes `*` in every list, and the
    origin `null`, which a page of anybody has in a sandboxed frame."""
    max_age: int = Field(default=600, ge=0, le=86400)
    """Seconds for which a browser may remember a preflight; 0 for not at all. Starlette's default;
    Chromium remembers 7200 s at most, Firefox 86400 s."""
    allow_private_network: bool = False
    """Whether pages of public sites may reach this gateway in a private network."""

    @model_validator(mode="after")
    def _credentials_only_for_the_named(self) -> CorsConfig:
        if self.allow_credentials:
            lists = self.allow_origins, self.allow_methods, self.allow_headers, self.expose_headers
            if any("*" in values for values in lists):
                raise ValueError("allow_credentials does not go with `*`: name what is allowed")
            if "null" in self.allow_origins:
                message = "allow_credentials does not go with `null`: any page can have that origin"
                raise ValueError(message)
            if any(map(Origins(self.allow_origins).granted, _STRANGERS)):
                raise ValueError("allow_credentials does not go with a pattern for any origin")
        return self


class Cors(Filter[CorsConfig]):
    """Answer preflights, and mark responses with the origins that may read them."""

    name = "cors"
    Config = CorsConfig
    catches_errors = True
    answers_preflight = True

    def __init__(self, config: CorsConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._active = bool(config.allow_origins)
        self._varies = "*" not in config.allow_origins
        self._granted = Origins(config.allow_origins).granted
        credentials = "true" if config.allow_credentials else ""
        self._response = _present(
            ("Access-Control-Allow-Credentials", credentials),
            ("Access-Control-Expose-Headers", ", ".join(config.expose_headers)),
        )
        self._preflight = _present(
            ("Access-Control-Allow-Credentials", credentials),
            ("Access-Control-Allow-Methods", ", ".join(config.allow_methods)),
            ("Access-Control-Allow-Headers", ", ".join(config.allow_headers)),
            ("Access-Control-Max-Age", str(config.max_age)),
        )

    @property
    def does_nothing(self) -> bool:
        """Without origins it only refuses preflights, which have a chain of their own."""
        return not self._active

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        """See :meth:`gatewayd.Filter.__call__`.

        Raises:
            Reject: 403 ``cors_denied`` for the preflight of an origin that is not allowed. Fetch
                only asks that it fails; a refusal tells whoever debugs it why.

        """
        if not self._active:
            if exchange.preflight:
                raise _denied()
            return await forward(exchange)
        headers = exchange.request.headers
        origin = headers.value(b"origin")
        granted = None if origin is None else self._granted(origin)
        if (
            origin is not None
            and exchange.request.method == "OPTIONS"
            and headers.value(b"access-control-request-method") is not None
        ):
            return self._answer_preflight(granted, headers.index)
        response = await forward(exchange)
        if self._varies:
            if origin is not None:
                self._mark(response.headers, granted)
            _vary_on_origin(response.headers)
        else:
            # Where no origin was sent as well, as a cache gives the response to those who send one
            # (Fetch, "CORS protocol and HTTP caches").
            self._mark(response.headers, b"*")
        return response

    def _mark(self, headers: Headers, granted: bytes | None) -> None:
        if not headers.lacks(_CONTROL_KEYS):
            headers.remove(*_CONTROLS)
        if granted is not None:
            headers.add("Access-Control-Allow-Origin", granted.decode("latin-1"))
            for name, value in self._response:
                headers.add(name, value)

    def _answer_preflight(self, granted: bytes | None, index: Mapping[bytes, bytes]) -> Response:
        if granted is None:
            raise _denied()
        headers = Headers.of(
            [("Access-Control-Allow-Origin", granted.decode("latin-1")), *self._preflight]
        )
        if (
            self.config.allow_private_network
            and index.get(b"access-control-request-private-network") == b"true"
        ):
            headers.add("Access-Control-Allow-Private-Network", "true")
        if self._varies:
            headers.add("Vary", "Origin")
        return Response(204, headers)


def _present(*fields: tuple[str, str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in fields if value]


def _denied() -> Reject:
    return Reject(
        403, "cors_denied", "This origin may not use this resource.", [("Vary", "Origin")]
    )


def _vary_on_origin(headers: Headers) -> None:
    """Keep shared caches from serving one origin's response to another (RFC 9110, 12.5.5)."""
    named = (headers.value(b"vary") or b"").lower().split(b",")
    if {b"origin", b"*"}.isdisjoint(name.strip() for name in named):
        headers.add("Vary", "Origin")

"""Set, add and remove header fields, with values from the exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from gatewayd import Filter, FilterConfig, HeaderName, Headers
from gatewayd_filters.headers.template import Template

if TYPE_CHECKING:
    from gatewayd import Exchange, Forward, Gateway, Response

# Beside what `Headers` keeps for itself: the host belongs to `rewrite.host`, and whoever reads the
# body answers an expectation.
_RESERVED = frozenset({"host", "expect"})


def _checked_template(text: str) -> str:
    Template(text)
    return text


def _not_reserved(name: str) -> str:
    if name.lower() in _RESERVED:
        raise ValueError(f"{name} is not for rules: the gateway itself answers for it")
    Headers.of([(name, "")])  # raises for fields of framing and of this hop
    return name


_Name = Annotated[HeaderName, AfterValidator(_not_reserved)]
_Value = Annotated[str, AfterValidator(_checked_template)]


class MessageRules(FilterConfig):
    """What happens to the fields of one message: first `remove`, then `set`, then `add`."""

    remove: tuple[_Name, ...] = ()
    """Fields to drop."""
    set: dict[_Name, _Value] = Field(default_factory=dict)
    """Fields to replace, or to create. Where a part of the value is absent the field is dropped,
    so that none of the client's stays in its place."""
    add: dict[_Name, _Value | tuple[_Value, ...]] = Field(default_factory=dict)
    """Fields to add beside those of the same name; several lines as a list. Where a part of a
    value is absent, its line is not added."""


class HeadersConfig(FilterConfig):
    """Settings of `headers`.

    Values may contain `{params.NAME}` (a path parameter, decoded), `{request.id}`,
    `{request.method}`, `{request.path}`, `{request.host}`, `{request.scheme}`, `{client.ip}`,
    `{route.name}` and `{service.name}`; of an authenticated caller `{principal.id}`,
    `{principal.name}`, `{principal.email}`, `{principal.key_id}`, `{principal.method}` and
    `{principal.claims.NAME}` (a text, number or truth value among the token's claims), where `auth`
    stands before; `{{` and `}}` stand for braces.
    """

    request: MessageRules = MessageRules()
    """Fields of the request, on its way upstream. What `remove` and `set` name is dropped in its
    spellings with `_` for `-` as well, which CGI and WSGI cannot tell apart."""
    response: MessageRules = MessageRules()
    """Fields of the response, on its way to the client; of refusals by later filters as well."""


class _Rules:
    """Rules of one message, parsed."""

    def __init__(self, config: MessageRules) -> None:
        self._remove = config.remove
        self._set = [(name, Template(value)) for name, value in config.set.items()]
        self._add = [
            (name, Template(value))
            for name, values in config.add.items()
            for value in ((values,) if isinstance(values, str) else values)
        ]
        self.present = bool(self._remove or self._set or self._add)

    def apply(self, headers: Headers, exchange: Exchange) -> None:
        """Change ``headers`` as the rules say."""
        if self._remove:
            headers.remove(*self._remove)
        for name, template in self._set:
            value = template.render(exchange)
            if value is None:
                headers.remove(name)
            else:
                headers.set(name, value)
        for name, template in self._add:
            value = template.render(exchange)
            if value is not None:
                headers.add(name, value)


class HeaderRules(Filter[HeadersConfig]):
    """Change header fields on the way in and on the way out."""

    name = "headers"
    Config = HeadersConfig
    catches_errors = True

    def __init__(self, config: HeadersConfig, gateway: Gateway) -> None:
        super().__init__(config, gateway)
        self._request = _Rules(config.request)
        self._response = _Rules(config.response)
        names = [name.lower() for name in (*config.request.remove, *config.request.set)]
        # With `-` only, of those that can be spelled in another way.
        self._imitable = frozenset(
            name.replace("_", "-").encode() for name in names if "-" in name or "_" in name
        )
        # Then a field without `_` may be the imitation, and else only one that has it.
        self._any_has_underscore = any("_" in name for name in names)

    @property
    def does_nothing(self) -> bool:
        """Without rules."""
        return not (self._request.present or self._response.present)

    def _drop_imitations(self, headers: Headers) -> None:
        """Drop what an origin might read in the place of a field that is removed or set."""
        index = headers.index
        if self._any_has_underscore or b"_" in b"".join(index):
            imitable = self._imitable
            headers.remove(*(key.decode() for key in index if key.replace(b"_", b"-") in imitable))

    async def __call__(self, exchange: Exchange, forward: Forward) -> Response:
        """See :meth:`gatewayd.Filter.__call__`."""
        if self._request.present:
            headers = exchange.request.headers
            if self._imitable:
                self._drop_imitations(headers)
            self._request.apply(headers, exchange)
        response = await forward(exchange)
        if self._response.present:
            self._response.apply(response.headers, exchange)
        return response

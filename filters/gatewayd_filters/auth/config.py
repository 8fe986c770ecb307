"""Settings of the filter ``auth``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from gatewayd import FilterConfig
from gatewayd_filters.auth.api_key.config import ApiKeyConfig  # noqa: TC001  # for pydantic
from gatewayd_filters.auth.jwt.config import JwtConfig  # noqa: TC001  # for pydantic

MethodName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class AuthConfig(FilterConfig):
    """Settings of `auth`.

    The methods are tried in order. The first one whose kind of credential a request shows decides:
    a credential that is wrong refuses the request, whatever else it carries.
    """

    methods: tuple[MethodName, ...] = Field(("api_key",), min_length=1, max_length=16)
    """Names of authentication methods, in the order in which they are tried: `jwt`, `api_key`, or
    another installed one. API keys by default, as they need nothing beside the store."""
    accept: tuple[MethodName, ...] = ()
    """Those of `methods` that a route takes; all where empty. Routes use it instead of `methods`,
    as the settings of a method that is not listed there are an error."""
    required: bool | None = None
    """Whether a caller must have authenticated. `false`: anonymous callers pass, and a credential
    that is shown must be good nevertheless. Unset is like `true` here, but leaves it to `rbac` who
    may use the route. A route's shorthand is `auth_required`."""
    realm: str = Field("gatewayd", pattern=r"^[ !#-\[\]-~]{1,128}$")
    """What `WWW-Authenticate` calls the protected space (RFC 9110 section 11.5)."""
    forward_headers: bool = True
    """Whether the upstream is told who calls: `X-User-Id`, `X-User-Name`, `X-User-Email`,
    `X-User-Roles`, `X-User-Permissions`, `X-User-Scopes`, `X-Api-Key-Id` and `X-Auth-Method`, as
    far as they are known. What clients send under these names never reaches it."""
    allow_query: bool = False
    """Whether credentials are taken from the query as well, by methods that name a parameter. Not
    by default: addresses are kept in histories and logs, as RFC 6750 section 5.3 warns."""
    jwt: JwtConfig | None = Field(None, repr=False)
    """Settings of the method `jwt`."""
    api_key: ApiKeyConfig | None = Field(None, repr=False)
    """Settings of the method `api_key`."""
    plugins: dict[MethodName, dict[str, Any]] = Field({}, repr=False)
    """Settings of other methods, by name."""

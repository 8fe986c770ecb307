"""Value types that several settings share."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

if TYPE_CHECKING:
    from collections.abc import Iterable

Seconds = Annotated[
    float, Field(gt=0, le=86400, allow_inf_nan=False, json_schema_extra={"format": "seconds"})
]
"""A duration in seconds, above 0 and at most a day."""

HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")]
"""The name of a header field (RFC 9110 section 5.1)."""


def _network(value: object) -> object:
    if isinstance(value, str):
        return ip_network(value, strict=False)
    if not isinstance(value, IPv4Network | IPv6Network):  # 10 would be 0.0.0.10, true 0.0.0.1
        raise ValueError("expected a network, such as '10.0.0.0/8'")  # noqa: TRY004  # pydantic's
    return value


Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
"""An IP network in CIDR form; a single address is a network of one."""


# What goes into a Host field; urlsplit() takes spaces and more for a host.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")


def _service_url(value: str) -> str:
    parts = urlsplit(value)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("an instance URL has no credentials, query or fragment")
    if parts.scheme not in ("http", "https") or not _AUTHORITY.fullmatch(parts.netloc):
        raise ValueError("expected http://host:port or https://host:port")
    if parts.path not in ("", "/"):
        raise ValueError("an instance URL has no path; use the route's rewrite")
    if parts.port == 0:  # raises ValueError where it is not a number up to 65535
        raise ValueError("nothing listens on port 0")
    return f"{parts.scheme}://{parts.netloc}"


ServiceUrl = Annotated[str, AfterValidator(_service_url)]
"""The address of an instance: scheme, host and port."""


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected http://HOST/... or https://HOST/...")
    if parts.username or parts.password:
        raise ValueError("expected a URL without credentials")
    _ = parts.port  # raises ValueError where it is not a number up to 65535
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""A URL of http or https, with any path; without credentials, as logs and errors show it."""


StatusPattern = (
    Annotated[int, Field(ge=100, le=599)] | Annotated[str, Field(pattern=r"^[1-5]([0-9]{2}|xx)$")]
)
"""A status code, or a class of them such as ``5xx``."""


def status_codes(patterns: Iterable[int | str]) -> frozenset[int]:
    """Return all status codes that the patterns stand for."""
    codes: set[int] = set()
    for pattern in map(str, patterns):
        first = int(pattern.replace("xx", "00"))
        codes.update(range(first, first + 100) if pattern.endswith("xx") else (first,))
    return frozenset(codes)

"""The principal: who the caller is, once a filter has authenticated the request."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from gatewayd.headers import Headers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

IDENTITY_FIELDS = frozenset({
    b"x-user-id", b"x-user-name", b"x-user-email", b"x-user-roles", b"x-user-permissions",
    b"x-user-scopes", b"x-api-key-id", b"x-auth-method",
})  # fmt: skip
"""Every field that :meth:`Principal.to_forward_headers` may return, in lower case. The server
removes them from what clients send, whatever ``server.identity_headers`` says."""

# What may not stand in a header field, and what would end or begin a member of a list in one.
_UNSAFE = re.compile(r"[^\x21-\x7e]|[,%]")


@dataclass(frozen=True, eq=False)
class Principal:
    """A caller whose identity was verified; shared by all exchanges that show the same credential.

    Attributes:
        id: Who it is, as the method knows it: a token's ``sub``, or the owner of an API key.
        method: Name of the authentication method, such as ``jwt``.
        kind: Whether a person (or what acts for one) or an API key calls.
        name, email: For people to read; ``None`` where unknown.
        roles: Names of roles.
        permissions: ``resource:action``, with wildcards, beside those that the roles give.
        scopes: Scopes of the token or key (RFC 6749 section 3.3).
        claims: What else was verified; a token's claims. Not to be changed.
        key_id: Public id of the API key.
        rate_limit: Limit of this caller's own, as ``token_bucket`` writes limits.
        expires_at: Seconds of the Unix clock after which the credential is worth nothing.

    """

    id: str
    method: str
    kind: Literal["user", "api_key"] = "user"
    name: str | None = None
    email: str | None = None
    roles: frozenset[str] = frozenset()
    permissions: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)
    key_id: str | None = None
    rate_limit: str | None = None
    expires_at: float | None = None

    def to_forward_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Return the identity fields for the upstream.

        Whatever in a value is not printable ASCII, and commas and percent signs in it, is
        percent-encoded as UTF-8, so that a list of roles has as many members as there are roles.
        The fields are :data:`IDENTITY_FIELDS`, which clients cannot send.
        """
        return self.forward_headers.raw

    @cached_property
    def forward_headers(self) -> Headers:
        """The same, made once, for adding them to many requests; not to be changed."""
        values: dict[bytes, str | None] = {
            b"X-User-Id": _encoded(self.id),
            b"X-User-Name": _encoded(self.name),
            b"X-User-Email": _encoded(self.email),
            b"X-User-Roles": _list(self.roles),
            b"X-User-Permissions": _list(self.permissions),
            b"X-User-Scopes": _list(self.scopes),
            b"X-Api-Key-Id": _encoded(self.key_id),
            b"X-Auth-Method": _encoded(self.method),
        }
        return Headers.of_lines(
            (name, value.encode("ascii")) for name, value in values.items() if value
        )


def _encoded(text: str | None) -> str | None:
    if text is None:
        return None
    return _UNSAFE.sub(lambda unsafe: quote(unsafe[0], safe="", errors="replace"), text)


def _list(values: Iterable[str]) -> str:
    return ",".join(sorted(encoded for value in values if (encoded := _encoded(value))))

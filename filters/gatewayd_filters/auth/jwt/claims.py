"""What a token claims: whether it counts now and here, and who it says the caller is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gatewayd import InvalidCredential, Principal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayd_filters.auth.jwt.config import ClaimPath, JwtConfig

MAX_NAMES = 256
"""Most roles, permissions or scopes of one token; they go upstream in header fields."""
MAX_TEXT = 255
"""Longest id, name, role and the like, in characters. OpenID Connect has 255 for ``sub``."""
_LAST_SECOND = 253_402_300_799  # of the year 9999; above it a number is a mistake


class Claims:
    """Checks claims, as one configuration says, and makes principals of them.

    Args:
        config: The method's settings.

    """

    def __init__(self, config: JwtConfig) -> None:
        self._config = config
        self._issuers = _texts(config.issuer)
        self._audiences = _texts(config.audience)
        required = set(config.required_claims) | {"exp"}
        if config.max_age is not None:
            required.add("iat")
        if config.revocation:
            required.add("jti")
        if config.issuer:
            required.add("iss")
        self._required = frozenset(required)

    def check(self, claims: Mapping[str, Any], now: float) -> float:
        """Return until when a token counts, in seconds of the Unix clock, leeway included.

        Args:
            claims: Verified claims.
            now: Seconds of the Unix clock.

        Raises:
            InvalidCredential: it does not count.

        """
        actor = _actor(claims)
        missing = [name for name in self._required if claims.get(name) is None]
        if missing:
            raise InvalidCredential("missing_claim", actor)
        leeway = self._config.leeway
        expires_at = _seconds(claims["exp"], actor)
        if now >= expires_at + leeway:  # RFC 7519 section 4.1.4: "on or after"
            raise InvalidCredential("expired", actor)
        if "nbf" in claims and now < _seconds(claims["nbf"], actor) - leeway:
            raise InvalidCredential("not_yet_valid", actor)
        until = expires_at + leeway
        if "iat" in claims:
            issued_at = _seconds(claims["iat"], actor)
            if issued_at > now + leeway:
                raise InvalidCredential("issued_in_future", actor)
            if self._config.max_age is not None:
                until = min(until, issued_at + self._config.max_age + leeway)
                if now >= until:
                    raise InvalidCredential("too_old", actor)
        self._check_parties(claims, actor)
        return until

    def _check_parties(self, claims: Mapping[str, Any], actor: str) -> None:
        if self._issuers and _text(claims["iss"]) not in self._issuers:
            raise InvalidCredential("issuer", actor)
        audience = claims.get("aud")
        if audience is None and not self._audiences:
            return
        named = [audience] if isinstance(audience, str) else audience
        if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
            raise InvalidCredential("audience", actor)
        if self._audiences.isdisjoint(named):
            raise InvalidCredential("audience", actor)

    def principal(self, claims: Mapping[str, Any], until: float) -> Principal:
        """Return who the caller is.

        Raises:
            InvalidCredential: the claims that say so are missing, of the wrong type, or too many.

        """
        config = self._config
        subject = _text(_find(claims, config.subject_claim))
        if not subject:
            raise InvalidCredential("subject", _actor(claims))
        return Principal(
            id=subject,
            method="jwt",
            name=_text(_find(claims, config.name_claim)),
            email=_text(_find(claims, config.email_claim)),
            roles=_names(_find(claims, config.roles_claim), subject),
            permissions=_names(_find(claims, config.permissions_claim), subject),
            scopes=_names(_find(claims, config.scope_claim), subject),
            claims=claims,
            expires_at=until,
        )


def _texts(value: str | tuple[str, ...]) -> frozenset[str]:
    return frozenset((value,) if isinstance(value, str) else value)


def _find(claims: Mapping[str, Any], path: ClaimPath) -> Any:
    found: Any = claims
    for part in path.split(".") if isinstance(path, str) else path:
        if not isinstance(found, dict):
            return None
        found = found.get(part)
    return found


def _text(value: Any) -> str | None:
    """Return a short text, ``None`` for everything else."""
    return value if isinstance(value, str) and len(value) <= MAX_TEXT else None


def _actor(claims: Mapping[str, Any]) -> str:
    return _text(claims.get("sub")) or ""


def _names(value: Any, actor: str) -> frozenset[str]:
    """Return a set of names: of a list, or of a text with spaces between them."""
    if value is None:
        return frozenset()
    names = value.split(" ") if isinstance(value, str) else value
    if not isinstance(names, list) or len(names) > MAX_NAMES:
        raise InvalidCredential("names", actor)
    if not all(isinstance(name, str) and len(name) <= MAX_TEXT for name in names):
        raise InvalidCredential("names", actor)
    return frozenset(filter(None, names))


def _seconds(value: Any, actor: str) -> float:
    """Return a NumericDate (RFC 7519 section 2) that is one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidCredential("no_number", actor)
    if not 0 <= value <= _LAST_SECOND or math.isnan(value):
        raise InvalidCredential("no_number", actor)
    return float(value)

"""Tokens that were verified, so that the next request with one costs no signature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd import Principal


class Verified(Struct, frozen=True):
    """One token.

    Attributes:
        principal: Who shows it.
        until: When it has to be verified again, in seconds of the Unix clock.
        key: Identity of the key that verified it.
        jti: Its id, ``None`` where it has none.

    """

    principal: Principal
    until: float
    key: object
    jti: str | None


class TokenCache:
    """A bounded number of verified tokens, the ones used last.

    Two tables instead of a list by age: what is found in the older one moves to the younger, and
    when that is full the older one is dropped. A hit costs one lookup, where an ordered dictionary
    pays for the order each time; only what verifies gets in, so nobody can fill it with rubbish.

    Args:
        size: Most tokens; 0 for none.

    """

    def __init__(self, size: int) -> None:
        self._half = (size + 1) // 2
        self._young: dict[bytes, Verified] = {}
        self._old: dict[bytes, Verified] = {}

    def get(self, token: bytes, now: float) -> Principal | None:
        """Return the principal of a token, ``None`` where it is not known, or no longer counts."""
        found = self._young.get(token)
        if found is None:
            found = self._old.pop(token, None)
            if found is None:
                return None
            self._put(token, found)
        if now < found.until:
            return found.principal
        del self._young[token]
        return None

    def put(self, token: bytes, verified: Verified) -> None:
        """Remember a token."""
        if self._half:
            self._put(token, verified)

    def _put(self, token: bytes, verified: Verified) -> None:
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[token] = verified

    def keep_only(self, keep: Callable[[Verified], bool]) -> None:
        """Forget all tokens but those that ``keep`` is true for."""
        self._young = {token: one for token, one in self._young.items() if keep(one)}
        self._old = {token: one for token, one in self._old.items() if keep(one)}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

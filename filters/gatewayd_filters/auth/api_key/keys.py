"""All API keys in memory, and what can be said of one that is shown.

Requests are judged by what is in memory, and by how long ago that was known to be true:

====================  ==========================  =====================================
last look             a key that is known         another secret, or an unknown key
====================  ==========================  =====================================
fresh                 good                        invalid
older, ``stale``      good, up to ``max_stale``   cannot be judged: it may be a new one
older, ``closed``     cannot be judged            cannot be judged
====================  ==========================  =====================================
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gatewayd import AuthUnavailable, UnreadableApiKey
from gatewayd_filters.auth.api_key.known import KnownKey

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from gatewayd import ApiKeyRecord, Metrics
    from gatewayd_filters.auth.api_key.config import ApiKeyConfig

FRESH = 10.0
"""Seconds after a look for which what was seen counts as the present."""
_REMEMBERED_REVOKED = 10_000
_REMEMBERED_UNREADABLE = 10_000
_REMEMBERED_CHECKED = 10_000  # 3 MB; whoever has more keys in use pays for their hash

logger = logging.getLogger("gatewayd.filters.auth")


class Keys:
    """The keys of one database, as they were when it was last looked into.

    Args:
        config: Settings.
        clock: Monotonic seconds.
        metrics: Where keys are counted.

    Attributes:
        by_id: Every key that is not revoked.
        pepper: What secrets are hashed with; ``None`` as long as no key was ever made.
        used: When keys were last used, in seconds of the Unix clock, until that is written down.
        checked: Keys whose hash was right when they were last shown, by all that was shown.
        version: Of the last change that is known.
        usable_until: When nothing can be judged any more without another look.
        failure: Why the last look failed, ``None`` where it did not.
        left_out: How many keys there was no room for.

    """

    def __init__(self, config: ApiKeyConfig, clock: Callable[[], float], metrics: Metrics) -> None:
        self.by_id: dict[str, KnownKey] = {}
        self.used: dict[str, float] = {}
        self.checked: dict[bytes, KnownKey] = {}
        self.pepper = None if config.pepper is None else config.pepper.get_secret_value()
        self.version = 0
        self.usable_until = float("-inf")
        self.failure: str | None = None
        self._fresh_until = float("-inf")
        self._config = config
        self._clock = clock
        self._revoked: dict[str, None] = {}
        self._unreadable: dict[str, str] = {}
        self._in_memory = metrics.gauge("gatewayd_api_keys", "API keys in memory.").labels()
        self._omitted = metrics.gauge(
            "gatewayd_api_keys_omitted", "API keys for which `max_keys` leaves no room."
        ).labels()
        self.left_out = 0

    def check(self) -> None:
        """Tell whether keys can be judged at all.

        Raises:
            AuthUnavailable: they cannot.

        """
        if self._clock() > self.usable_until:
            raise AuthUnavailable("store", self.failure or "API keys were not read yet")
        if self.pepper is None and self.by_id:
            raise AuthUnavailable("store", f"there are API keys, but no {self._config.pepper_file}")

    def reason_wrong(self) -> str:
        """Return why a secret is not that of its key.

        Raises:
            AuthUnavailable: the key may have got another one since.

        """
        if self._clock() > self._fresh_until:
            raise AuthUnavailable("store", self.failure or "API keys were not read for a while")
        return "wrong_secret"

    def reason_unknown(self, key_id: str) -> str:
        """Return why there is no such key.

        Raises:
            AuthUnavailable: there may be one.

        """
        if key_id in self._revoked:
            return "revoked"
        if key_id in self._unreadable:
            raise AuthUnavailable("store", f"its row cannot be read: {self._unreadable[key_id]}")
        self.reason_wrong()
        if self.left_out:
            raise AuthUnavailable("store", "there are more API keys than `max_keys`")
        return "unknown_key"

    def remember(self, shown: bytes, known: KnownKey) -> None:
        """Remember that a key was shown and good; what has changed since is found out by lookup."""
        if len(self.checked) >= _REMEMBERED_CHECKED and shown not in self.checked:
            del self.checked[next(iter(self.checked))]
        self.checked[shown] = known

    def known_at(self, moment: float) -> None:
        """Take notice that all of this was true at a moment of the clock."""
        stale = self._config.on_outage == "stale"
        self._fresh_until = moment + FRESH
        self.usable_until = moment + (max(self._config.max_stale, FRESH) if stale else FRESH)

    def must_start_over(self, latest: int) -> bool:
        """Whether all keys have to be read, and not those alone that have changed.

        A database that is older than what is known was restored, or made anew. And where keys were
        left out, what has changed may have made room for them.
        """
        return latest < self.version or (latest != self.version and self.left_out > 0)

    def note_unreadable(self, records: Sequence[ApiKeyRecord | UnreadableApiKey]) -> int:
        """Remember whose rows cannot be read, and warn of those that were not known to be so.

        Args:
            records: What the database says.

        Returns:
            How many of them cannot be read.

        """
        unreadable = [one for one in records if isinstance(one, UnreadableApiKey)]
        fresh = [one for one in unreadable if self._unreadable.get(one.id) != one.reason]
        for one in fresh:
            self._unreadable[one.id] = one.reason
            if len(self._unreadable) > _REMEMBERED_UNREADABLE:
                del self._unreadable[next(iter(self._unreadable))]
        if fresh:
            text = (
                "API keys whose rows cannot be read, and are passed over: %d; the first is %r: %s"
            )
            logger.warning(text, len(fresh), fresh[0].id, fresh[0].reason)
        return len(unreadable)

    def keep_unreadable(self, ids: Container[str]) -> None:
        """Forget all rows that could not be read but these: the others were mended, or deleted."""
        self._unreadable = {one: why for one, why in self._unreadable.items() if one in ids}

    def apply(
        self, keys: dict[str, KnownKey], records: Sequence[ApiKeyRecord | UnreadableApiKey]
    ) -> int:
        """Take changes over into these keys; returns for how many there was no room.

        Args:
            keys: Those in use, or others that are being collected to take their place.
            records: What the database says.

        """
        left_out = 0
        for record in records:
            if isinstance(record, UnreadableApiKey):
                # It may have been revoked, or lost a role: what was known of it is good no longer.
                keys.pop(record.id, None)
            elif record.revoked_at is not None:
                keys.pop(record.id, None)
                self._revoked[record.id] = None
                if len(self._revoked) > _REMEMBERED_REVOKED:
                    del self._revoked[next(iter(self._revoked))]
            elif record.id in self._revoked:
                # A revocation is for good. A database that does not know of it is a replica that
                # lags, or was restored from before.
                keys.pop(record.id, None)
            elif record.id in keys or len(keys) < self._config.max_keys:
                known = self.by_id.get(record.id)
                same = known is not None and known.says(record)
                keys[record.id] = known if known is not None and same else KnownKey(record)
            else:
                left_out += 1
        return left_out

    def differences(self, keys: dict[str, KnownKey]) -> int:
        """Return how many of these keys, which `apply` has collected, are not those in use."""
        changed = sum(keys.get(key_id) is not known for key_id, known in self.by_id.items())
        return changed + sum(key_id not in self.by_id for key_id in keys)

    def count(self) -> None:
        """Bring the gauges up to date."""
        if self.left_out > self._omitted.value:
            limit = self._config.max_keys
            logger.error("%d API keys are above max_keys = %d", self.left_out, limit)
        self._omitted.value = self.left_out
        self._in_memory.value = len(self.by_id)

"""What the token bucket's backends have in common: the question, and the answer.

A bucket holds up to ``burst`` tokens and gains ``rate`` of them each second; a request that costs
``cost`` tokens is allowed where that many are there. One question asks several buckets at once,
such as one per second and one per day, and takes from all of them or from none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence


class Limit(Struct, frozen=True):
    """How many requests are allowed.

    Attributes:
        rate: Tokens that come back each second.
        burst: Tokens that the bucket holds.
        window: Seconds of the period in which the limit was written: 60 for ``100/minute``.

    """

    rate: float
    burst: float
    window: float


class Charge(Struct, frozen=True):
    """One bucket that a request draws on.

    Attributes:
        key: Name of the bucket; the same on all nodes.
        limit: Its limit.
        cost: Tokens to take.

    """

    key: str
    limit: Limit
    cost: float


class Verdict(Struct, frozen=True):
    """What became of one question.

    Attributes:
        allowed: Whether the tokens were taken, from all buckets.
        remaining: Tokens left in each bucket, in the order of the charges.
        retry_after: Seconds until the same question can be allowed; 0 where it was, infinity where
            a cost is above the burst.
        limiting: Index of the bucket that refused, or of the one with the fewest requests left.

    """

    allowed: bool
    remaining: tuple[float, ...]
    retry_after: float
    limiting: int


class BackendUnavailable(Exception):  # noqa: N818
    """The backend cannot answer now; ``on_outage`` decides what becomes of the request."""


class Backend(Protocol):
    """Where the buckets are."""

    def take(self, charges: Sequence[Charge]) -> Verdict | Awaitable[Verdict]:
        """Take tokens from all buckets or from none.

        A backend in memory answers at once, one behind a network with an awaitable. Buckets that
        have the same key are asked with the same limit, or the newer limit replaces the older one.

        Raises:
            BackendUnavailable: it cannot answer, within its time budget.

        """

    async def held(self, charge: Charge) -> float:
        """Return the tokens that a bucket holds now; takes none. The cost says nothing here.

        Raises:
            BackendUnavailable: it cannot answer, within its time budget.

        """

    async def fill(self, charge: Charge) -> None:
        """Fill a bucket. The cost says nothing here.

        What was granted before counts no more for the meter, as the limit was lifted.

        Raises:
            BackendUnavailable: it cannot answer, within its time budget; the bucket may be full.

        """

    async def start(self) -> None:
        """Open what it needs; an outage is no error here."""

    async def close(self) -> None:
        """Undo :meth:`start`."""

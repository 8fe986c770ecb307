"""How long to wait before trying again.

Without jitter, callers that failed together come back together. "Full" jitter draws from the whole
span up to the exponential bound; of the usual variants it gives a struggling server the least work
(Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

# Above it doubling changes nothing: any ``base`` has reached a ``max`` of a day long before.
_MOST_DOUBLINGS = 64


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off.

    Attributes:
        base: Bound of the first wait in seconds; it doubles with each further one.
        max: Bound of all waits, in seconds.
        jitter: ``full`` draws a wait from zero to its bound, ``none`` waits as long as the bound.

    """

    base: float = 0.025
    max: float = 0.25
    jitter: Literal["full", "none"] = "full"

    def wait(self, failures: int) -> float:
        """Return the seconds to wait after this many failures, counted from 1."""
        bound = min(self.max, self.base * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
        if self.jitter == "none":
            return bound
        return random.uniform(0.0, bound)  # noqa: S311  # spreads load, protects no secret

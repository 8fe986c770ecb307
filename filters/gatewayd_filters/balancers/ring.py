"""A hash ring: where on it a key lands, and whose places follow.

Every instance has places on a ring of 64-bit numbers, computed from its URL alone. A key belongs
to the first place at or after it whose instance may be used. So an instance that goes loses its own
keys and moves no others, and one that comes takes only what is its own from then on. All workers
and nodes agree, without talking.
"""

from __future__ import annotations

from bisect import bisect_left
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PLACES = 128
"""Places of the heaviest instance, at most; at least half as many. Shares differ by about
1 / sqrt(PLACES), some 10 %, as Ketama's do."""

_PER_DIGEST = 8  # 64-bit places in the 64 bytes of a digest


class Ring:
    """The places of instances, by URL.

    Making it takes about 0.1 ms for each instance, which is why it keeps those that cannot be used
    now: whoever asks skips them.

    Args:
        weights: URL to weight.

    Attributes:
        weights: The same.
        owners: The URL of each place, in the order of the ring; after the last follows the first.

    """

    def __init__(self, weights: Mapping[str, int]) -> None:
        self.weights = dict(weights)
        # A power of two, so that most changes of the heaviest weight move nobody's places.
        scale = 1 << (max(weights.values()) - 1).bit_length()
        owners = {
            place: url
            for url, weight in weights.items()
            for place in _places(url, max(1, PLACES * weight // scale))
        }
        self._places = sorted(owners)
        self.owners = [owners[place] for place in self._places]

    def find(self, key: int) -> int:
        """Return the index in ``owners`` of the place that a key belongs to."""
        return bisect_left(self._places, key) % len(self._places)


def place_of(key: bytes) -> int:
    """Return where a key lands: the same in all processes, and not to be chosen by clients."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big")


def _places(url: str, count: int) -> Iterable[int]:
    places: list[int] = []
    for number in range(-(-count // _PER_DIGEST)):
        digest = blake2b(b"%d %b" % (number, url.encode())).digest()
        places += (int.from_bytes(digest[i : i + 8], "big") for i in range(0, 64, 8))
    return places[:count]

"""Buckets that operators look at and fill, in the memory of a process or of a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd.testing import FakeClock
from gatewayd_filters.token_bucket.backend import Charge, Limit
from tests.filters.token_bucket.model import new_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.filters.token_bucket.model import Backend

LIMIT = Limit(1.0, 10.0, 1.0)


async def test_looking_takes_nothing(make: Callable[[FakeClock], Backend]) -> None:
    one, backend = Charge(new_key(), LIMIT, 4.0), make(FakeClock())
    assert await backend.held(one) == 10.0
    backend.take([one])
    assert [await backend.held(one) for _ in range(3)] == [6.0] * 3


async def test_a_filled_bucket_holds_its_burst(make: Callable[[FakeClock], Backend]) -> None:
    one, clock = Charge(new_key(), LIMIT, 10.0), FakeClock()
    backend = make(clock)
    backend.take([one])
    clock.advance(2.0)
    await backend.fill(one)
    assert await backend.held(one) == 10.0
    assert [backend.take([one]).allowed for _ in range(2)] == [True, False]


async def test_one_that_nobody_used_is_filled_as_well(make: Callable[[FakeClock], Backend]) -> None:
    one, backend = Charge(new_key(), LIMIT, 1.0), make(FakeClock())
    await backend.fill(one)
    assert await backend.held(one) == 10.0

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gatewayd import Metrics, SharedTable
from gatewayd.process.shared import make_shared_file
from gatewayd_filters.token_bucket.memory import MemoryBackend
from gatewayd_filters.token_bucket.meter import Meter
from gatewayd_filters.token_bucket.shared import SharedBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatewayd.testing import FakeClock
    from tests.filters.token_bucket.model import Backend


@pytest.fixture(scope="session")
def table() -> Iterator[SharedTable]:
    with make_shared_file(1) as file:
        yield SharedTable(file.fileno())


@pytest.fixture(params=["memory", "shared"])
def make(request: pytest.FixtureRequest, table: SharedTable) -> Callable[[FakeClock], Backend]:
    """Make a backend; shared ones have their buckets in one table, so use keys of your own."""

    def make(clock: FakeClock) -> Backend:
        meter = Meter(Metrics())
        if request.param == "memory":
            return MemoryBackend(clock, 1000, meter)
        return SharedBackend(table, meter, clock)

    return make

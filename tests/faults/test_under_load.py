"""One of three instances dies or hangs under load: no request fails."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.faults.origin import Fault, FaultyOrigin
from tests.faults.proxies import gatewayd
from tests.faults.under_load import INSTANCES, LoadResult, fail_under_load

if TYPE_CHECKING:
    from pathlib import Path

MOST_CALLS = 400
"""Requests that a hanging instance may get: those of one per-try time-out, until the breaker knows,
and probes. A third of the requests would be more."""


async def run(fault: Fault, folder: Path, *, rate: float, seconds: float) -> LoadResult:
    async with AsyncExitStack() as stack:
        origins = [await stack.enter_async_context(FaultyOrigin()) for _ in range(INSTANCES)]
        with gatewayd([one.port for one in origins], folder, breaker=True) as gateway:
            result = await fail_under_load(fault, origins, gateway.port, rate=rate, seconds=seconds)
    print(f"\n{fault}: {result}")
    return result


@pytest.mark.parametrize("fault", ["refused", "hang before head", "reset mid-head", "500"])
async def test_no_request_fails(fault: Fault, tmp_path: Path) -> None:
    result = await run(fault, tmp_path, rate=400, seconds=1)
    assert result.outcomes == {"200": 400}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["refused", "hang before head"])
async def test_no_request_fails_at_full_load(fault: Fault, tmp_path: Path) -> None:
    result = await run(fault, tmp_path, rate=2000, seconds=3)
    assert result.outcomes == {"200": 6000}
    assert result.calls < MOST_CALLS

"""``python -m tests.faults``: every fault in front of gatewayd and, where installed, of Envoy."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.origin import FaultyOrigin
from tests.faults.proxies import PER_TRY, envoy, gatewayd
from tests.faults.scenarios import INSTANCES, SCENARIOS, play
from tests.faults.under_load import INSTANCES as INSTANCES_UNDER_LOAD
from tests.faults.under_load import fail_under_load

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.origin import Fault
    from tests.support.process import Process

    Make = Callable[..., Process | None]

_UNDER_LOAD: tuple[Fault, ...] = ("refused", "hang before head")
_RATE = 2000.0
_SECONDS = 3.0


async def _play_all(make: Make, folder: Path) -> dict[str, str]:
    """Return what each scenario came to; nothing where the proxy is not installed."""
    async with AsyncExitStack() as stack:
        origins = [await stack.enter_async_context(FaultyOrigin()) for _ in range(INSTANCES)]
        proxy = make([origin.port for origin in origins], folder)
        if proxy is None:
            return {}
        with proxy:
            return {one.name: str(await play(one, origins, proxy.port)) for one in SCENARIOS}


async def _load_all(make: Make, folder: Path) -> dict[str, str]:
    results = {}
    for fault in _UNDER_LOAD:
        async with AsyncExitStack() as stack:
            origins = [
                await stack.enter_async_context(FaultyOrigin()) for _ in range(INSTANCES_UNDER_LOAD)
            ]
            proxy = make([origin.port for origin in origins], folder, breaker=True)
            if proxy is None:
                return {}
            with proxy:
                result = await fail_under_load(
                    fault, origins, proxy.port, rate=_RATE, seconds=_SECONDS
                )
        results[f"1 of {INSTANCES_UNDER_LOAD}: {fault}, {_RATE:g}/s"] = str(result)
    return results


async def _main() -> None:
    print(f"{INSTANCES} instances; per-try time-out {PER_TRY} s; 'calls' arrived at instances")
    for name, make in (("gatewayd", gatewayd), ("Envoy", envoy)):
        with tempfile.TemporaryDirectory() as folder:
            results = await _play_all(make, Path(folder))
            results |= await _load_all(make, Path(folder))
        print(f"\n{name}" if results else f"\n{name} is not installed")
        for scenario, result in results.items():
            print(f"  {scenario:34} {result}")


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))

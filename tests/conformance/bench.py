"""A proxy under test with its origin, both running."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.conformance.origin import Origin
from tests.conformance.run import run
from tests.conformance.targets import Ports
from tests.support.process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conformance.case import Case, Observation
    from tests.conformance.targets import Target


@dataclass(frozen=True, slots=True)
class Bench:
    """A proxy and its origin.

    Attributes:
        port: Where the proxy listens.
        origin: What it forwards to.
        patience: Seconds to wait for what should come.

    """

    port: int
    origin: Origin
    patience: float

    async def run(self, case: Case) -> Observation:
        """Return what the proxy makes of a case."""
        return await run(case, self.port, self.origin, self.patience)


@asynccontextmanager
async def bench(target: Target, folder: Path, patience: float) -> AsyncIterator[Bench]:
    """Start a proxy in front of a new origin; end both at the exit."""
    async with Origin() as origin:
        ports = Ports(listen=free_port(), origin=origin.port, refusing=free_port())
        with target.start(ports, folder):
            yield Bench(ports.listen, origin, patience)

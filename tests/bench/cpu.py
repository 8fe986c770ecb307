"""What a process costs the processor, and which cores it runs on."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from tests.support.process import children_of


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, of a process and of all its living descendants.

    Reads the kernel's CPU-time clock of each process: nanoseconds, all threads, also those that
    have ended. ``/proc/PID/stat`` counts in steps of 10 ms, ``schedstat`` only for one thread.
    """
    return _process_clock(pid) + sum(cpu_seconds(child) for child in children_of(pid))


def _process_clock(pid: int) -> float:
    # What clock_getcpuclockid(3) returns: the inverted pid, and 2 for the clock that counts
    # scheduled time of the whole process (CPUCLOCK_SCHED in the kernel's posix-timers_types.h).
    return time.clock_gettime(~pid << 3 | 2)


@dataclass(frozen=True)
class Cores:
    """Which cores the proxies run on, and which the load generator and the origins.

    Both are None where there is only one core: then nothing is pinned.
    """

    proxy: set[int] | None
    load: set[int] | None

    @classmethod
    def of_this_machine(cls) -> Cores:
        """Give the first core to the proxies and the others to the load."""
        first, *others = sorted(os.sched_getaffinity(0))
        return cls({first}, set(others)) if others else cls(None, None)

    def pin_load(self) -> None:
        """Move this process to the load's cores; what it starts from now on inherits them."""
        if self.load is not None:
            os.sched_setaffinity(0, self.load)

    def __str__(self) -> str:
        if self.proxy is None or self.load is None:
            return "not pinned: one core"
        return f"proxy on core {_spell(self.proxy)}, load and origins on {_spell(self.load)}"


def _spell(cores: set[int]) -> str:
    return ", ".join(map(str, sorted(cores)))

"""CPU time is that of the whole process tree."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.bench.cpu import cpu_seconds
from tests.support.process import Process

if TYPE_CHECKING:
    from pathlib import Path

BURNING_CHILD = """
import subprocess, sys, time
burn = '''
import time
while time.process_time() < 0.2: pass
print("burnt", flush=True)
time.sleep(600)
'''
subprocess.run([sys.executable, "-c", burn])
"""


def test_what_a_child_burns_counts(tmp_path: Path) -> None:
    with Process([sys.executable, "-c", BURNING_CHILD], tmp_path / "log") as parent:
        parent.wait_for(lambda: "burnt" in parent.log, "the child's work")
        assert cpu_seconds(parent.pid) >= 0.2

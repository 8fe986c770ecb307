"""What Linux tells about a process: its open files and its memory."""

from __future__ import annotations

from pathlib import Path


def open_files(pid: int) -> set[int]:
    """Return the file descriptors of a process."""
    return {int(link.name) for link in Path(f"/proc/{pid}/fd").iterdir()}


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has now."""
    return _kilobytes(pid, "VmRSS") * 1024


def peak_resident_bytes(pid: int) -> int:
    """Return the most memory that a process has ever had, which no sampling can miss."""
    return _kilobytes(pid, "VmHWM") * 1024


def _kilobytes(pid: int, key: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1])

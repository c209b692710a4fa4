"""How much memory there is."""

from __future__ import annotations

from pathlib import Path

_CONTAINER = Path("/sys/fs/cgroup")


def free_bytes() -> int | None:
    """What this process can still have; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    try:
        most, used = (int((_CONTAINER / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # there is none, or it has no limit
        return free
    return min(free, most - used)

"""How long this process has lived: what its user has waited before the first line of Python ran included."""

from __future__ import annotations

import os
import pathlib
import time

_START_TIME = 19
"""Index of ``starttime`` among the fields behind the command's name in /proc/self/stat; see proc_pid_stat(5)."""


def process_age_s() -> float | None:
    """Return the seconds since this process began, to 10 ms; None where the system does not tell (not Linux)."""
    try:
        stat = pathlib.Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
        ticks = int(stat.rpartition(")")[2].split()[_START_TIME])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    return age_s if age_s >= 0 else None

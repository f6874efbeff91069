"""Python, operating system, memory, and the folders that pagednb and its libraries write to."""

from __future__ import annotations

import os
import pathlib
import platform
import shutil
import sys

from pagednb.doctor.finding import Finding
from pagednb.version import VERSION

_MIN_FREE_BYTES = 2**30


def machine_findings() -> list[Finding]:
    """Look at the machine."""
    return [
        Finding(f"pagednb {VERSION}, Python {platform.python_version()} ({sys.executable})"),
        Finding(f"{platform.platform()}, {_num_cores()} CPU cores for this process, {_memory()}"),
        *_offline(),
    ]


def folder_finding(what: str, folder: pathlib.Path, variable: str) -> Finding:
    """Return whether a folder, which need not exist yet, can be written to and has room; ``variable`` moves it."""
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    text = f"{what}: {folder}"
    if not os.access(place, os.W_OK):
        return Finding(f"{text}, which cannot be written to", f"Set {variable} to a folder of yours.")
    free_bytes = shutil.disk_usage(place).free
    text = f"{text}, {free_bytes / 1e9:,.0f} GB free"
    if free_bytes < _MIN_FREE_BYTES:
        return Finding(text, f"Make room there, or set {variable} to a folder on a larger disk.")
    return Finding(text)


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{total_bytes / 2**30:,.0f} GiB of memory"


def _offline() -> list[Finding]:
    from huggingface_hub import constants

    found = [folder_finding("models of the hub", pathlib.Path(constants.HF_HUB_CACHE), "HF_HOME")]
    if constants.HF_HUB_OFFLINE:
        found.append(Finding("HF_HUB_OFFLINE is set: models that are not here yet are not fetched"))
    return found

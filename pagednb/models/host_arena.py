"""Large pieces of host memory: whole pages of their own, huge ones where the system has them."""

from __future__ import annotations

import contextlib
import mmap
import sys

import torch

_MADV_WIPEONFORK = 18  # Linux; Python has no name for it


def host_arena(num_bytes: int) -> torch.Tensor:
    """Return zeroed host memory, ``[num_bytes]`` of uint8, that begins a page and shares none with anything else.

    It takes as much as was asked for, where torch's pinned memory comes in powers of two. In huge pages it is written
    first, pinned and given back far sooner. A process that is forked, as for ``!ls`` in a cell, finds zeros there: to
    share pinned pages Linux copies them all, gigabytes, and the engine answers only in the process that loaded it.
    """
    if not num_bytes:
        return torch.empty(0, dtype=torch.uint8)
    if sys.platform != "linux":
        return torch.zeros(num_bytes, dtype=torch.uint8)
    memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for advice in (mmap.MADV_HUGEPAGE, _MADV_WIPEONFORK):
        with contextlib.suppress(OSError):  # a kernel that does not know it
            memory.madvise(advice)
    return torch.frombuffer(memory, dtype=torch.uint8)

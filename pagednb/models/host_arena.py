"""Large pieces of host memory: whole pages of their own, huge ones where the system has them."""

from __future__ import annotations

import contextlib
import mmap
import sys

import torch


def host_arena(num_bytes: int) -> torch.Tensor:
    """Return zeroed host memory, ``[num_bytes]`` of uint8, that begins a page and shares none with anything else.

    It takes as much as was asked for, where torch's pinned memory comes in powers of two. In huge pages it is written
    first, pinned and given back far sooner.
    """
    if not num_bytes:
        return torch.empty(0, dtype=torch.uint8)
    if sys.platform != "linux":
        return torch.zeros(num_bytes, dtype=torch.uint8)
    memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8)

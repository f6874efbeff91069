"""How many KV blocks host memory may hold for preempted requests."""

from __future__ import annotations

import os
import pathlib

import torch

from pagednb.config import EngineConfig
from pagednb.runner.host_memory import check_host_memory

DEFAULT_BYTES = 4 * 2**30
_DEFAULT_SHARE = 8
"""The default is no more than this part of the machine's memory: the process is a guest there too."""


def choose_num_host_blocks(config: EngineConfig, device: torch.device, *, block_bytes: int) -> int:
    """Return what ``swap_space`` and ``preemption_mode`` ask for; the same at every call on one machine.

    Raises:
        GPUMemoryError: the host has less memory free than was asked for.
    """
    if config.preemption_mode == "recompute":
        return 0
    if config.swap_space is not None:
        num_bytes = int(config.swap_space * 2**30)
        check_host_memory(num_bytes, option=f"swap_space={config.swap_space:g}")
        return num_bytes // block_bytes
    # on a CPU the blocks lie in host memory anyway: more of them serve better than a place to swap them to
    is_wanted = device.type == "cuda" or config.preemption_mode == "swap"
    return min(DEFAULT_BYTES, _host_bytes() // _DEFAULT_SHARE) // block_bytes if is_wanted else 0


def _host_bytes() -> int:
    """Return the machine's memory, or its container's where that is less."""
    num_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = pathlib.Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        num_bytes = min(num_bytes, int(text))
    return num_bytes

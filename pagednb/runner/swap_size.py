"""How many KV blocks host memory may hold for preempted requests."""

from __future__ import annotations

from pagednb.config import EngineConfig
from pagednb.runner.host_memory import check_host_memory


def choose_num_host_blocks(config: EngineConfig, *, block_bytes: int) -> int:
    """Return what ``swap_space`` and ``preemption_mode`` ask for; the same at every call.

    Raises:
        GPUMemoryError: the host has less memory free than was asked for.
    """
    if config.preemption_mode == "recompute":
        return 0
    num_bytes = int(config.swap_space * 2**30)
    check_host_memory(num_bytes, option=f"swap_space={config.swap_space:g}")
    return num_bytes // block_bytes

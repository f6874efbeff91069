"""How many KV blocks host memory may hold for preempted requests."""

from __future__ import annotations

from pagednb.config import EngineConfig
from pagednb.errors import OptionError


def choose_num_host_blocks(config: EngineConfig, *, block_bytes: int) -> int:
    """Return what ``swap_space`` and ``preemption_mode`` ask for; the same at every call.

    Raises:
        OptionError: not even one block fits.
    """
    if config.preemption_mode == "recompute" or not config.swap_space:
        return 0
    num_blocks = int(config.swap_space * 2**30) // block_bytes
    if not num_blocks:
        raise OptionError(
            f"swap_space={config.swap_space:g} holds no KV block: one has {block_bytes / 2**20:.3g} MiB.",
            hint="Give more, in GiB, or leave it out.",
        )
    return num_blocks

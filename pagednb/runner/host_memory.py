"""Whether host memory has room for what is to leave the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pagednb.errors import GPUMemoryError
from pagednb.runner.memory import DeviceMemory, gib


def check_host_memory(wishes: Mapping[str, int], *, soon_free_bytes: int = 0) -> None:
    """Raise GPUMemoryError when ``wishes``, bytes by option such as "swap_space=4", are together more than is free.

    ``soon_free_bytes`` that somebody holds now will be free by then.
    """
    wished = {option: num_bytes for option, num_bytes in wishes.items() if num_bytes}
    num_bytes = sum(wished.values())
    free_bytes = DeviceMemory.measure(torch.device("cpu")).free_bytes + soon_free_bytes
    if num_bytes > free_bytes:
        verb = "takes" if len(wished) == 1 else "take"
        raise GPUMemoryError(
            f"{' and '.join(wished)} {verb} {gib(num_bytes)} of host memory, of which {gib(free_bytes)} are free.",
            hint="Give less, or free what others hold.",
        )

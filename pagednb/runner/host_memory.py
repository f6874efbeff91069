"""Whether host memory has room for what is to leave the device."""

from __future__ import annotations

import torch

from pagednb.errors import GPUMemoryError
from pagednb.runner.memory import DeviceMemory, gib


def check_host_memory(num_bytes: int, *, option: str) -> None:
    """Raise GPUMemoryError when ``option``, such as "swap_space=4", asks for more host memory than is free."""
    free_bytes = DeviceMemory.measure(torch.device("cpu")).free_bytes
    if num_bytes > free_bytes:
        raise GPUMemoryError(
            f"{option} takes {gib(num_bytes)} of host memory, of which {gib(free_bytes)} are free.",
            hint="Give less, or free what others hold.",
        )

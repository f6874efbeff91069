"""Copies between host and device that never stall the host.

On CUDA both directions go through pinned memory of PyTorch's caching host allocator: it hands a buffer out again only
when the copies that use it have finished on the device, so no ring of our own can be overwritten too early. On the CPU
"device" tensors are plain host tensors.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

_ALIGNMENT_BYTES = 16


def to_device(arrays: Mapping[str, np.ndarray], device: torch.device) -> dict[str, torch.Tensor]:
    """Copy ``arrays`` in one transfer; the results are views of one buffer, with the arrays' shapes and dtypes."""
    offsets, num_bytes = [], 0
    for array in arrays.values():
        offsets.append(num_bytes)
        num_bytes += -(-array.nbytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
    staging = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
    staging_bytes = staging.numpy()
    for offset, array in zip(offsets, arrays.values(), strict=True):
        staging_bytes[offset : offset + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    packed = staging.to(device, non_blocking=True)
    return {
        name: packed[offset : offset + array.nbytes].view(_TORCH_DTYPES[array.dtype]).view(array.shape)
        for offset, (name, array) in zip(offsets, arrays.items(), strict=True)
    }


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """Start the copy of ``tensor`` to the host; its values are valid once the current stream has reached this point."""
    if tensor.device.type == "cpu":
        return tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    return host


_TORCH_DTYPES = {
    np.dtype(np.int32): torch.int32,
    np.dtype(np.int64): torch.int64,
    np.dtype(np.float32): torch.float32,
}

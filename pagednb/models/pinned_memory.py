"""Pinning host memory that is there already: exactly so much, and for exactly so long.

torch's own pinned memory comes in powers of two and stays with the process.
"""

from __future__ import annotations

import contextlib
import weakref

import torch

_CUDA_HOST_REGISTER_PORTABLE = 1


def pin(memory: torch.Tensor, stream: torch.cuda.Stream, *, owner: object) -> int:
    """Pin ``memory``, whole pages of the host that nobody has pinned, for as long as ``owner`` lives.

    All copies from and to it must be done when ``stream`` is. Returns CUDA's error code: 0 unless the system refuses.
    """
    with torch.cuda.device(stream.device):
        code = int(torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.nbytes, _CUDA_HOST_REGISTER_PORTABLE))
    if code:
        with contextlib.suppress(RuntimeError):  # CUDA tells whoever launches next of the refusal again
            torch.zeros(1, device=stream.device)
    else:
        # not at the end of the process: there the engine's thread may still copy, and the system unpins by itself
        weakref.finalize(owner, _unpin, memory, stream).atexit = False
    return code


def _unpin(memory: torch.Tensor, stream: torch.cuda.Stream) -> None:
    with contextlib.suppress(RuntimeError):  # a device that is lost; what a finaliser raises would be printed
        stream.synchronize()
        torch.cuda.cudart().cudaHostUnregister(memory.data_ptr())

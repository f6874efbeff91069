"""What keeps the engine a guest: its own stream and inference mode inside a scope, nothing changed outside it.

No default dtype, device, stream, random generator or backend flag of the process is ever set; inference mode and the
current stream are the calling thread's, entered for one step and left with it.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

import torch


class DeviceScope:
    """The device as the engine uses it. On CUDA all its work goes to one stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Run the body without autograd, on the engine's stream; the caller's settings return afterwards."""
        stream = contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
        with torch.inference_mode(), stream:
            yield

    def synchronize(self) -> None:
        """Wait for the engine's stream; work on the user's streams is not waited for."""
        if self._stream is not None:
            self._stream.synchronize()

    def release_memory(self) -> None:
        """Return memory that no tensor holds any longer to the device, cuBLAS workspaces included."""
        gc.collect()
        if self._stream is not None:
            with torch.cuda.device(self.device):
                torch._C._cuda_clearCublasWorkspaces()
                torch.cuda.empty_cache()

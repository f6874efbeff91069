"""Copies of weights from host memory to a device, beside what the device computes.

``OffloadedLayers`` starts a copy and waits for it before the layer is computed. It does not know streams; what a copy
must wait for, and how the rest waits for it, is said here once for eager steps and captured ones.
"""

from __future__ import annotations

from typing import Protocol

import torch

from pagednb.errors import GPUMemoryError
from pagednb.models.pinned_memory import pin

Arrival = torch.cuda.Event | None


class WeightCopies(Protocol):
    """Copies that run in the order in which they are started.

    While ``is_idle`` nothing is copied: what is computed then means nothing. A capture records its copies all the same.
    """

    is_idle: bool

    def start(self, source: torch.Tensor, target: torch.Tensor) -> Arrival:
        """Copy host ``source`` to ``target`` once all that was launched so far is done; return what to wait for."""
        ...

    def wait(self, arrival: Arrival) -> None:
        """Let all that is launched from now on find the copy done."""
        ...


class ImmediateCopies:
    """Copies on the CPU: done when they are started."""

    def __init__(self) -> None:
        self.is_idle = False

    def start(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """See ``WeightCopies``."""
        if not self.is_idle:
            target.copy_(source)

    def wait(self, arrival: Arrival) -> None:
        """See ``WeightCopies``."""


class StreamedCopies:
    """Copies on a CUDA stream of their own, from pinned memory.

    In a capture that stream is forked from the capturing one by the first copy that is started, and joined again when
    the last one is waited for: whoever starts copies waits for all of them in the same step.
    """

    def __init__(self, memory: torch.Tensor, device: torch.device) -> None:
        """Pin ``memory``, whole pages of the host, for as long as this object lives: sources lie in it.

        Raises:
            GPUMemoryError: the system does not let so much memory be pinned.
        """
        self.is_idle = False
        self._stream = torch.cuda.Stream(device)
        self._fence = torch.zeros(1, device=device)
        self._device = device
        code = pin(memory, self._stream, owner=self)
        if code:
            raise GPUMemoryError(
                f"The system does not pin {memory.nbytes / 2**30:.2f} GiB of host memory for offloaded weights "
                f"(CUDA error {code}).",
                hint="Lower cpu_offload_gb, or raise the limits on memory of this machine or container.",
            )

    def start(self, source: torch.Tensor, target: torch.Tensor) -> torch.cuda.Event:
        """See ``WeightCopies``."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        if not self.is_idle or torch.cuda.is_current_stream_capturing():
            with torch.cuda.stream(self._stream):
                target.copy_(source, non_blocking=True)
        arrival = torch.cuda.Event()
        arrival.record(self._stream)
        return arrival

    def wait(self, arrival: Arrival) -> None:
        """See ``WeightCopies``."""
        assert arrival is not None
        torch.cuda.current_stream(self._device).wait_event(arrival)
        # our kernels may start before the one ahead of them ends, and read weights before they wait for it; a plain
        # kernel is one that they cannot overtake, and it waits for the copy
        self._fence.fill_(0.0)


def copies_for(memory: torch.Tensor, device: torch.device) -> WeightCopies:
    """Return the copies from host ``memory`` to ``device``."""
    return StreamedCopies(memory, device) if device.type == "cuda" else ImmediateCopies()

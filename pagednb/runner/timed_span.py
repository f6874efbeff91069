"""How long a part of a step takes on the device, without waiting for it."""

from __future__ import annotations

import time
from typing import Self

import torch

_Mark = torch.cuda.Event | float


class TimedSpan:
    """The time that the body of a ``with`` takes: on CUDA by events on the current stream, on a CPU by the clock."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __enter__(self) -> Self:
        self._begin = self._end = _mark(self._device)
        return self

    def __exit__(self, *_: object) -> None:
        self._end = _mark(self._device)

    @property
    def seconds(self) -> float:
        """Its length; on CUDA once the device has passed its end."""
        if isinstance(self._begin, float) or isinstance(self._end, float):
            return self._end - self._begin  # type: ignore[operator]  # both are of one kind
        return float(self._begin.elapsed_time(self._end)) / 1e3


def _mark(device: torch.device) -> _Mark:
    if device.type == "cpu":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event

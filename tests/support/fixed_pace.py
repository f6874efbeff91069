"""A pacer that learns nothing: the same limits at every step."""

from __future__ import annotations

from pagednb.engine.step_pacer import StepTiming
from pagednb.scheduler.output import StepLimits


class FixedPace:
    """Implements ``Pacer``; keeps what it was told."""

    def __init__(self, *, max_decode_steps: int = 1, max_num_tokens: int | None = None) -> None:
        self._limits = StepLimits(max_decode_steps=max_decode_steps, max_num_tokens=max_num_tokens)
        self.timings: list[StepTiming] = []

    def limits(self, *, has_interactive: bool) -> StepLimits:
        """Return the limits."""
        return self._limits

    def record(self, timing: StepTiming) -> None:
        """Note it."""
        self.timings.append(timing)

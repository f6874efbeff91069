"""Decides whether a shape that has no graph gets one, waits, or borrows a larger one. Knows no CUDA."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from pagednb.runner.step_shape import StepShape

CAPTURE_AFTER = 3
"""A capture costs about as much host time as two eager steps: shapes that only pass by are not worth it."""
MAX_GRAPHS = 160
"""Bounds the driver's memory, of which every graph holds some MiB."""

# how much larger than the wanted step a graph may be that stands in until the right one is captured
_MAX_EXCESS = 2


class CapturePolicy:
    """Counts what is wanted."""

    def __init__(self, *, max_graphs: int = MAX_GRAPHS) -> None:
        self._max_graphs = max_graphs
        self._num_wanted: Counter[StepShape] = Counter()

    def should_capture(self, shape: StepShape, captured: Collection[StepShape]) -> bool:
        """Note that ``shape`` is wanted once more; return whether it is worth a graph now."""
        self._num_wanted[shape] += 1
        return self._num_wanted[shape] >= CAPTURE_AFTER and len(captured) < self._max_graphs

    def stand_in(self, shape: StepShape, captured: Collection[StepShape]) -> StepShape | None:
        """Return the smallest captured shape that covers ``shape`` without much waste; None when there is none."""
        most = _MAX_EXCESS * shape.num_tokens
        covering = [each for each in captured if each.covers(shape) and each.num_tokens <= most]
        return min(covering, key=lambda each: (each.num_tokens, each), default=None)

    def stop(self) -> None:
        """Capture nothing any more."""
        self._max_graphs = 0

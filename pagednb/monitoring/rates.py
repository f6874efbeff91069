"""What happened between two looks at the engine: tokens a second, cache hits, time of a step; and its history."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pagednb.engine.status import EngineStatus

WINDOW_S = 1.0
"""Rates are means over the last second: steps come in bursts."""
MAX_SAMPLES = 120


class Sample(NamedTuple):
    """One point of each line. ``hit_rate`` is None when no prompt came in, ``step_ms`` when no step ended."""

    tokens_in_per_s: float
    tokens_out_per_s: float
    hit_rate: float | None
    step_ms: float | None


class _Totals(NamedTuple):
    time_s: float
    tokens_in: int
    tokens_out: int
    num_hit: int
    num_asked: int
    num_steps: int
    busy_s: float

    @classmethod
    def of(cls, status: EngineStatus) -> _Totals:
        scheduler = status.scheduler
        return cls(
            status.time_s,
            status.tokens_in,
            status.tokens_out,
            scheduler.num_prefix_tokens_hit,
            scheduler.num_prefix_tokens_asked,
            status.num_steps,
            status.busy_s,
        )


class Rates:
    """Takes one status after another, and keeps the last ``MAX_SAMPLES`` samples in ``history``."""

    def __init__(self) -> None:
        self.history: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._totals: deque[_Totals] = deque()

    def add(self, status: EngineStatus) -> Sample:
        """Return the rates over the last second; the first look at an engine finds none."""
        now = _Totals.of(status)
        if self._totals and now.num_steps < self._totals[-1].num_steps:  # another engine: its counts begin anew
            self._totals.clear()
        self._totals.append(now)
        while len(self._totals) > 2 and self._totals[1].time_s <= now.time_s - WINDOW_S:
            self._totals.popleft()
        sample = _between(self._totals[0], now)
        self.history.append(sample)
        return sample


def _between(before: _Totals, now: _Totals) -> Sample:
    seconds = now.time_s - before.time_s
    num_asked, num_steps = now.num_asked - before.num_asked, now.num_steps - before.num_steps
    return Sample(
        (now.tokens_in - before.tokens_in) / seconds if seconds else 0.0,
        (now.tokens_out - before.tokens_out) / seconds if seconds else 0.0,
        (now.num_hit - before.num_hit) / num_asked if num_asked else None,
        1000 * (now.busy_s - before.busy_s) / num_steps if num_steps else None,
    )

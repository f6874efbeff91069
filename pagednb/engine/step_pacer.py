"""How much the next step may do, learnt from how long the last ones took.

Two questions, two rules. How many decode steps go out at once: as few as keep the device fed. A launch that finds the
device idle came too late, because the model is small or another thread holds the interpreter lock; then the number
doubles, and after a long time without such a launch it is halved on trial. How many tokens a step has: all that fit,
unless somebody watches a stream; then so many that a step takes about ``TARGET_STEP_S`` at the speed measured last.

Used by the engine core, on the engine thread. Knows no clock: it is told.
"""

from __future__ import annotations

import dataclasses

from pagednb.scheduler.output import StepLimits

MAX_DECODE_STEPS = 8
TARGET_STEP_S = 0.025
"""Between two tokens of a watched stream; 40 tokens a second are faster than anyone reads."""
TARGET_BURST_S = 0.04
"""Between two bursts of a watched stream's tokens, where single ones would leave the device idle."""

# late launches in a row that double the decode steps; decode steps launched in time that halve them
_LATE_TO_DOUBLE = 2
_PUNCTUAL_TO_HALVE = 200

# smaller steps read weights, whatever the number of tokens: they show less than the device's speed, never more
_MIN_TOKENS_MEASURED = 256
_WEIGHT_OF_NEWEST = 0.3
_MIN_BUDGET = 128
# while nothing was measured; every device that runs a model computes so many tokens in little time
_FIRST_BUDGET = 512


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepTiming:
    """What the engine core saw of one executed step.

    Attributes:
        num_tokens: computed in it.
        has_prefills: whether any of them belonged to a prompt.
        num_decode_steps: decode steps run in one go.
        device_s: from its launch, or the end of the step before it, to when its end was seen.
        was_late: whether the step before it had ended when it was launched, so that the device stood idle.
        was_awaited: whether the host waited for its end. If not, the step had ended some time before, and
            ``device_s`` is an upper bound that tells about the host.
    """

    num_tokens: int
    has_prefills: bool
    num_decode_steps: int
    device_s: float
    was_late: bool
    was_awaited: bool = True


class StepPacer:
    """Chooses the limits of the next step."""

    def __init__(
        self,
        *,
        max_decode_steps: int = MAX_DECODE_STEPS,
        target_step_s: float = TARGET_STEP_S,
        target_burst_s: float = TARGET_BURST_S,
    ) -> None:
        self._max_decode_steps = max_decode_steps
        self._target_step_s = target_step_s
        self._target_burst_s = target_burst_s
        self._num_decode_steps = 1
        self._num_late = 0
        self._num_punctual = 0
        self._tokens_per_s: float | None = None  # of steps large enough to tell
        self._decode_step_s = 0.0  # one decode step on the device, as seen last

    def limits(self, *, has_interactive: bool) -> StepLimits:
        """Return what the next step may do; ``has_interactive``: somebody watches a stream."""
        if not has_interactive:
            return StepLimits(max_decode_steps=self._num_decode_steps)
        budget = _FIRST_BUDGET
        if self._tokens_per_s is not None:
            budget = max(_MIN_BUDGET, int(self._target_step_s * self._tokens_per_s))
        return StepLimits(max_decode_steps=self._num_watchable_steps(), max_num_tokens=budget)

    def record(self, timing: StepTiming) -> None:
        """Learn from a step; called once for each, in order."""
        if timing.device_s > 0:
            self._measure(timing.num_tokens, timing.num_tokens / timing.device_s)
        if timing.has_prefills:
            return  # its launch is longer than that of a decode step, and tells nothing about the next one
        if timing.was_awaited:
            self._decode_step_s = timing.device_s / timing.num_decode_steps
        if timing.was_late:
            self._num_punctual = 0
            self._num_late += 1
            if self._num_late >= _LATE_TO_DOUBLE:
                self._set_decode_steps(2 * self._num_decode_steps)
        else:
            self._num_late = 0
            self._num_punctual += timing.num_decode_steps
            if self._num_punctual >= _PUNCTUAL_TO_HALVE:
                self._set_decode_steps(self._num_decode_steps // 2)

    def _num_watchable_steps(self) -> int:
        """Return the decode steps that still end within a burst, at least 1."""
        number = self._num_decode_steps
        while number > 1 and number * self._decode_step_s > self._target_burst_s:
            number //= 2
        return number

    def _measure(self, num_tokens: int, tokens_per_s: float) -> None:
        old = self._tokens_per_s
        if num_tokens >= _MIN_TOKENS_MEASURED:
            self._tokens_per_s = tokens_per_s if old is None else old + _WEIGHT_OF_NEWEST * (tokens_per_s - old)
        elif old is not None and tokens_per_s > old:
            # an estimate that is too low keeps every step of a lone chat small: only small steps can mend it
            self._tokens_per_s = old + _WEIGHT_OF_NEWEST * (tokens_per_s - old)

    def _set_decode_steps(self, number: int) -> None:
        self._num_decode_steps = min(max(number, 1), self._max_decode_steps)
        self._num_late = self._num_punctual = 0

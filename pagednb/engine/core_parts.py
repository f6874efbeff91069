"""What a core is put together from, as the core sees it; tests give it others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pagednb.engine.step_pacer import StepTiming
    from pagednb.scheduler.output import RunnerOutput, SchedulerOutput, StepLimits
    from pagednb.sleep_state import SleepLevel, SleepState


class PendingOutput(Protocol):
    """Tokens of a launched step, perhaps still being computed."""

    @property
    def is_ready(self) -> bool:
        """Whether ``result`` would return at once."""
        ...

    def result(self) -> RunnerOutput:
        """Wait for the tokens and return them. A fault of the device surfaces here."""


class Executor(Protocol):
    """Runs plans: the model runner, or a fake in tests. Called from the engine thread only."""

    def execute(self, plan: SchedulerOutput) -> PendingOutput:
        """Launch ``plan``. May be called again before the result is read: tokens feed back without the host."""

    def reset(self) -> None:
        """Forget all rows, as after a fault."""

    def shutdown(self) -> None:
        """Free everything that is held on the device. Safe to call twice."""


class Sleeper(Protocol):
    """Lets the executor give its device back and take it again; see ``runner/sleeper.py``."""

    @property
    def state(self) -> SleepState | None:
        """How it sleeps; None while it is awake."""
        ...

    def sleep(self, level: SleepLevel) -> None:
        """Give the device back, or nothing at all."""

    def wake_up(self, progress: Callable[[int, int], None]) -> None:
        """Take the device again, or nothing at all; what ``progress`` raises ends it."""

    def forget(self) -> None:
        """Let go of what was kept on the host."""


class Pacer(Protocol):
    """Says how much the next step may do; see ``StepPacer``."""

    def limits(self, *, has_interactive: bool) -> StepLimits:
        """Return the limits of the next plan."""
        ...

    def record(self, timing: StepTiming) -> None:
        """Learn from a step that has ended."""

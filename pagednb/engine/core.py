"""One iteration of the engine: schedule, execute, update.

Called by the engine loop, from one thread. Scheduler and executor are peers that meet only here, so the whole policy
runs in tests with a fake executor. Knows nothing about threads, text or notebooks.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, Protocol

from pagednb.request import RequestUpdate
from pagednb.scheduler.output import RunnerOutput, SchedulerOutput

if TYPE_CHECKING:
    from pagednb.scheduler.scheduler import Scheduler


class PendingOutput(Protocol):
    """Tokens of a launched step, perhaps still being computed."""

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


class EngineCore:
    """Scheduler and executor, one step at a time.

    With ``launch_ahead`` 1, step N+1 is launched before the tokens of step N are read; with 0, each step is read at
    once. Plans without tokens are never executed. ``num_prefill_tokens`` and ``num_sampled_tokens`` count what was
    launched, tokens that are computed again after preemption included.
    """

    def __init__(self, scheduler: Scheduler, executor: Executor, *, launch_ahead: Literal[0, 1] = 0) -> None:
        self.scheduler = scheduler
        self.executor = executor
        self.num_prefill_tokens = 0
        self.num_sampled_tokens = 0
        self._launch_ahead = launch_ahead
        self._in_flight: deque[tuple[SchedulerOutput, PendingOutput]] = deque()

    @property
    def has_work(self) -> bool:
        """Whether another step would do anything."""
        return bool(self._in_flight) or self.scheduler.has_work

    def step(self) -> list[RequestUpdate]:
        """Run one iteration and return what it brought each request."""
        plan = self.scheduler.schedule()
        if not plan.is_empty:
            self._in_flight.append((plan, self.executor.execute(plan)))
            self.num_prefill_tokens += plan.num_tokens - len(plan.decode_rows)
            self.num_sampled_tokens += len(plan.sampled_rows) * plan.num_decode_steps
            if len(self._in_flight) <= self._launch_ahead:
                return []
        if not self._in_flight:
            return []
        oldest, pending = self._in_flight.popleft()
        return self.scheduler.update(oldest, pending.result())

    def reset(self) -> None:
        """Forget all requests and launched steps, as after a fault."""
        self._in_flight.clear()
        self.scheduler.reset()
        self.executor.reset()

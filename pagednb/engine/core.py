"""One iteration of the engine: schedule, execute, update.

Called by the engine loop, from one thread. Scheduler and executor are peers that meet only here, so the whole policy
runs in tests with a fake executor. Knows nothing about threads, text or notebooks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from pagednb.engine.core_parts import Executor, Pacer, PendingOutput, Sleeper
from pagednb.engine.faults import drop_frames
from pagednb.engine.nan_rows import with_nan_failures
from pagednb.engine.preemption_meter import PreemptionMeter
from pagednb.engine.step_pacer import StepTiming
from pagednb.engine.token_masks import NOTHING_LEFT, TokenMaskBuilder
from pagednb.request import RequestUpdate
from pagednb.scheduler.output import LogitsCall, RunnerOutput, SchedulerOutput, StepLimits

if TYPE_CHECKING:
    from pagednb.scheduler.constrained_rows import ConstrainedSample
    from pagednb.scheduler.scheduler import Scheduler
    from pagednb.sleep_state import SleepLevel, SleepState


@dataclasses.dataclass(frozen=True, slots=True)
class _Launched:
    """A step on its way; ``begin_s``: when its launch began; ``was_late``: the device had nothing to do by its end."""

    plan: SchedulerOutput
    pending: PendingOutput
    begin_s: float
    was_late: bool


class EngineCore:
    """Scheduler and executor, one step at a time.

    With ``launch_ahead`` 1, step N+1 is launched before the tokens of step N are read; with 0, each step is read at
    once. Plans without tokens are never executed. Without a ``pacer`` a step has one decode step and no limit of its
    own. ``token_masks`` serves constrained requests, which end on their own when their constraint fails. With a
    ``preemption_meter`` the scheduler learns what preemption costs. With a ``sleeper`` it can sleep; nothing may be
    stepped then.

    Attributes:
        num_prefill_tokens, num_sampled_tokens: what was launched, tokens that are computed again after preemption
            included. Forced tokens, which are not sampled, are among the former.
        num_steps, busy_s: steps whose end was seen, and the time that they took, each from its launch or the end of the
            step before it.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        executor: Executor,
        *,
        launch_ahead: Literal[0, 1] = 0,
        pacer: Pacer | None = None,
        token_masks: TokenMaskBuilder | None = None,
        preemption_meter: PreemptionMeter | None = None,
        sleeper: Sleeper | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.executor = executor
        self.num_prefill_tokens = 0
        self.num_sampled_tokens = 0
        self.num_steps = 0
        self.busy_s = 0.0
        self._launch_ahead = launch_ahead
        self._pacer = pacer
        self._token_masks = token_masks
        self._preemption_meter = preemption_meter
        if preemption_meter is not None:
            scheduler.set_preemption_costs(preemption_meter.costs)
        self._sleeper = sleeper
        self._failed: list[int] = []  # requests of the last plan whose constraints failed
        self._in_flight: deque[_Launched] = deque()
        self._last_end_s = 0.0

    @property
    def has_work(self) -> bool:
        """Whether another step would do anything."""
        return bool(self._in_flight) or self.scheduler.has_work

    def step(self) -> list[RequestUpdate]:
        """Run one iteration and return what it brought, one update at most for each request."""
        news = self._append_forced()
        has_launched = self._launch()
        news = _one_each(news, self._end_failed())
        if not self._in_flight or (has_launched and len(self._in_flight) <= self._launch_ahead):
            return news
        oldest = self._in_flight.popleft()
        had_ended = oldest.pending.is_ready
        told = oldest.pending.result()
        output = with_nan_failures(oldest.plan, told)
        self._record(oldest, output, was_awaited=not had_ended)
        news = _one_each(news, self.scheduler.update(oldest.plan, output))
        if output is not told:  # keys and values of that step may be no numbers either
            self.scheduler.reset_prefix_cache()
        return news

    def reset(self) -> None:
        """Forget all requests and launched steps, as after a fault."""
        self._in_flight.clear()
        self._failed.clear()
        self.scheduler.reset()
        self.executor.reset()

    @property
    def asleep(self) -> SleepState | None:
        """How the executor sleeps; None while it is awake."""
        return None if self._sleeper is None else self._sleeper.state

    def sleep(self, level: SleepLevel) -> None:
        """Give the device back and forget all prefixes; no request may be under way. After a failure all is as before.

        Raises as ``runner.sleeper.Sleeper.sleep``.
        """
        assert self._sleeper is not None, "built without a sleeper"
        self._sleeper.sleep(level)
        self.reset()  # steps of requests that were aborted may still be on their way

    def wake_up(self, progress: Callable[[int, int], None]) -> None:
        """Take the device again; after a failure it is free as before. Raises as ``runner.sleeper.Sleeper.wake_up``."""
        assert self._sleeper is not None, "built without a sleeper"
        try:
            self._sleeper.wake_up(progress)
        except BaseException as error:
            drop_frames(error)  # they hold what was allocated, which only then can be given back
            with contextlib.suppress(Exception):  # a device that is lost cannot
                self.executor.shutdown()
            raise

    def shutdown(self) -> None:
        """Give everything back. Safe to call twice."""
        if self._sleeper is not None:
            self._sleeper.forget()
        self.executor.shutdown()

    def _append_forced(self) -> list[RequestUpdate]:
        """Append the tokens that grammars force after those just read."""
        if self._token_masks is None or not (rows := self.scheduler.unread_rows()):
            return []
        return self.scheduler.append_forced(self._token_masks.forced_tokens(rows))

    def _launch(self) -> bool:
        """Plan and launch a step; return whether there was anything to do."""
        plan = self.scheduler.schedule(self._limits())
        if plan.is_empty:
            return False
        if self._token_masks is not None and (constrained := self.scheduler.constrained_samples(plan)):
            plan = self._constrained(plan, constrained)
        begin_s = time.perf_counter()  # of the launch: an eager step runs while it is being launched
        pending = self.executor.execute(plan)
        was_late = bool(self._in_flight) and self._in_flight[-1].pending.is_ready
        self._in_flight.append(_Launched(plan, pending, begin_s, was_late))
        self.num_prefill_tokens += plan.num_tokens - len(plan.decode_rows)
        self.num_sampled_tokens += plan.num_sampled_tokens
        return True

    def _constrained(self, plan: SchedulerOutput, samples: list[ConstrainedSample]) -> SchedulerOutput:
        """Return ``plan`` with what its rows need that go by their output."""
        masked = [sample for sample in samples if sample.request.needs_masks]
        if masked and self._token_masks is not None:
            plan, self._failed = self._token_masks.with_masks(plan, masked)
        calls = tuple(
            LogitsCall(position, processors, request.prompt_token_ids, output_token_ids.copy())
            for position, request, output_token_ids in samples
            if (processors := request.sampling_params.logits_processors)
        )
        return dataclasses.replace(plan, logits_calls=calls) if calls else plan

    def _end_failed(self) -> list[RequestUpdate]:
        """Abort the requests whose constraints failed; what they sampled in the plan just launched is dropped."""
        failed, self._failed = self._failed, []
        ended = self.scheduler.abort(failed) if failed else []
        return [dataclasses.replace(update, error=NOTHING_LEFT) for update in ended]

    def _limits(self) -> StepLimits:
        if self._pacer is None:
            return StepLimits()
        return self._pacer.limits(has_interactive=self.scheduler.has_interactive)

    def _record(self, step: _Launched, output: RunnerOutput, *, was_awaited: bool) -> None:
        """Tell the pacer how long a step took, and the scheduler what that says of preemption."""
        plan, end_s, last_end_s = step.plan, time.perf_counter(), self._last_end_s
        self._last_end_s = end_s
        self.num_steps += 1
        self.busy_s += end_s - max(step.begin_s, last_end_s)
        device_s = end_s - last_end_s if output.device_s is None else output.device_s
        device_s = min(device_s, end_s - step.begin_s)  # the time from end to end counts an idle device too
        device_s = max(device_s - (output.swap_s or 0.0), 0.0)  # moves of blocks say nothing about the next step
        meter = self._preemption_meter
        if meter is not None and meter.record(plan, device_s=device_s, swap_s=output.swap_s):
            self.scheduler.set_preemption_costs(meter.costs)
        if self._pacer is None:
            return
        self._pacer.record(
            StepTiming(
                num_tokens=plan.num_tokens * plan.num_decode_steps,
                has_prefills=bool(plan.prefills),
                num_decode_steps=plan.num_decode_steps,
                device_s=device_s,
                was_late=step.was_late,
                was_awaited=was_awaited,
            )
        )


def _one_each(news: list[RequestUpdate], later: list[RequestUpdate]) -> list[RequestUpdate]:
    """Join what came in two parts; the later one says how the request stands."""
    if not news:
        return later
    by_id = {update.request_id: update for update in news}
    for update in later:
        said = by_id[update.request_id].new_token_ids if update.request_id in by_id else ()
        by_id[update.request_id] = dataclasses.replace(update, new_token_ids=said + update.new_token_ids)
    return list(by_id.values())

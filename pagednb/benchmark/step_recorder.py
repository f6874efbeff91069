"""Watches an engine's steps from outside: an executor around the engine's own that notes times, and nothing else.

It sits between ``EngineCore`` and its executor, on the engine thread, and costs a few clock readings a step plus a note
for each request whose first token comes; no Python runs per token. The engine knows nothing of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator

from pagednb.engine.core_parts import Executor, PendingOutput
from pagednb.scheduler.output import RunnerOutput, SchedulerOutput
from pagednb.scheduler.stats import SchedulerStats

LOOK_EVERY_STEPS = 8
"""Steps from one look at the scheduler's books to the next: a row takes a block in 16, and a look costs 5 us."""


@dataclasses.dataclass(slots=True)
class StepLog:
    """What the steps of one run did; times on ``time.perf_counter``'s clock.

    Attributes:
        num_steps: steps launched; ``num_decode_steps``: decode steps in them, of which one may hold several.
        start_s, end_s: launch of the first step, tokens of the last one.
        wait_s: how long the engine thread waited for tokens.
        first_token_s: request id -> when its first token had reached the host.
        peak_kv_use: largest share of KV blocks held by running requests.
        wastes: share of the slots in block tables that held no token, one entry a look.
    """

    num_steps: int = 0
    num_decode_steps: int = 0
    start_s: float = 0.0
    end_s: float = 0.0
    wait_s: float = 0.0
    first_token_s: dict[int, float] = dataclasses.field(default_factory=dict)
    peak_kv_use: float = 0.0
    wastes: list[float] = dataclasses.field(default_factory=list)

    @property
    def host_s(self) -> float:
        """What the engine thread spent outside waiting, between the first step and the last."""
        return self.end_s - self.start_s - self.wait_s

    def note_books(self, stats: SchedulerStats) -> None:
        """Take in the KV figures of a moment."""
        self.peak_kv_use = max(self.peak_kv_use, stats.num_used_blocks / stats.num_blocks)
        self.wastes.append(stats.waste)


class StepRecorder:
    """An executor that hands everything on to ``executor`` and keeps a log while someone asks for one."""

    def __init__(
        self,
        executor: Executor,
        read_stats: Callable[[], SchedulerStats],
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._executor = executor
        self._read_stats = read_stats
        self._clock = clock
        self._log: StepLog | None = None

    @contextlib.contextmanager
    def record(self) -> Iterator[StepLog]:
        """Log the steps launched within the block. One log at a time; the engine should be idle at both ends."""
        self._log = StepLog()
        try:
            yield self._log
        finally:
            self._log = None

    def execute(self, plan: SchedulerOutput) -> PendingOutput:
        """See ``Executor``."""
        log = self._log
        if log is None:
            return self._executor.execute(plan)
        if log.num_steps == 0:
            log.start_s = self._clock()
        if log.num_steps % LOOK_EVERY_STEPS == 0:
            log.note_books(self._read_stats())
        log.num_steps += 1
        log.num_decode_steps += plan.num_decode_steps
        # tokens of chunks that end a prompt come after those of the decode rows
        newcomers = plan.sampled_request_ids[len(plan.decode_rows) :].tolist() if plan.prefills else []
        return _TimedOutput(self._executor.execute(plan), log, newcomers, self._clock)

    def reset(self) -> None:
        """See ``Executor``."""
        self._executor.reset()

    def shutdown(self) -> None:
        """See ``Executor``."""
        self._executor.shutdown()


class _TimedOutput:
    """Notes how long its reader waits, and whose first tokens it brings."""

    def __init__(self, output: PendingOutput, log: StepLog, newcomers: list[int], clock: Callable[[], float]) -> None:
        self._output = output
        self._log = log
        self._newcomers = newcomers
        self._clock = clock

    @property
    def is_ready(self) -> bool:
        """See ``PendingOutput``."""
        return self._output.is_ready

    def result(self) -> RunnerOutput:
        start_s = self._clock()
        output = self._output.result()
        log = self._log
        log.end_s = self._clock()
        log.wait_s += log.end_s - start_s
        for request_id in self._newcomers:  # a request that was preempted computes its prompt again
            log.first_token_s.setdefault(request_id, log.end_s)
        return output

"""The recorder against a scripted executor and a clock that only the script moves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pagednb.benchmark.step_recorder import LOOK_EVERY_STEPS, StepRecorder
from pagednb.scheduler.output import PrefillChunk, RunnerOutput, SchedulerOutput
from pagednb.scheduler.stats import SchedulerStats

EXECUTE_S = 0.001
WAIT_S = 0.003
OUTPUT = RunnerOutput(token_ids=np.zeros((1, 1), dtype=np.int64))
STATS = SchedulerStats(
    num_waiting=0,
    num_running=1,
    num_blocks=100,
    num_used_blocks=25,
    num_cached_blocks=0,
    waste=0.5,
    mean_waste=0.0,
    mean_memory_waste=0.0,
    num_prefix_tokens_hit=0,
    num_prefix_tokens_asked=0,
    num_preemptions=0,
)


class Script:
    """A clock, and an executor that takes ``EXECUTE_S`` to launch a step and ``WAIT_S`` to bring its tokens."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.stats = STATS
        self.num_looks = 0
        self.calls: list[str] = []
        self.recorder = StepRecorder(self, self.look, clock=lambda: self.now_s)

    def look(self) -> SchedulerStats:
        self.num_looks += 1
        return self.stats

    def execute(self, plan: SchedulerOutput) -> Script:
        self.now_s += EXECUTE_S
        return self

    @property
    def is_ready(self) -> bool:
        return self.now_s >= 101

    def result(self) -> RunnerOutput:
        self.now_s += WAIT_S
        return OUTPUT

    def reset(self) -> None:
        self.calls.append("reset")

    def shutdown(self) -> None:
        self.calls.append("shutdown")


def make_plan(decoding: tuple[int, ...] = (), sampling: tuple[int, ...] = (), reading: int = 0) -> SchedulerOutput:
    """Requests that decode, that end their prompt, and the number of chunks that sample nothing yet."""
    chunk = PrefillChunk(row=0, start=0, token_ids=np.zeros(3, dtype=np.int32), samples=True)
    middle = dataclasses.replace(chunk, samples=False)
    return SchedulerOutput(
        step=1,
        decode_rows=np.arange(len(decoding), dtype=np.int32),
        prefills=(*[chunk] * len(sampling), *[middle] * reading),
        sampled_rows=np.arange(len(decoding) + len(sampling), dtype=np.int32),
        sampled_request_ids=np.array([*decoding, *sampling], dtype=np.int64),
    )


def test_waiting_and_the_rest_are_told_apart() -> None:
    script = Script()
    with script.recorder.record() as log:
        for _ in range(10):
            assert script.recorder.execute(make_plan((1,))).result() is OUTPUT
            script.now_s += 0.002  # schedule and update
    assert log.num_steps == 10
    assert log.wait_s == pytest.approx(10 * WAIT_S)
    assert log.host_s == pytest.approx(10 * EXECUTE_S + 9 * 0.002)  # what follows the last tokens is nobody's


def test_first_tokens_come_with_the_result_and_not_with_the_launch() -> None:
    script = Script()
    with script.recorder.record() as log:
        first = script.recorder.execute(make_plan((7,), (8, 9), reading=2))
        second = script.recorder.execute(make_plan((7, 8, 9)))
        assert log.first_token_s == {}
        first.result()
        second.result()
    assert log.first_token_s == pytest.approx({8: 100 + 2 * EXECUTE_S + WAIT_S, 9: 100 + 2 * EXECUTE_S + WAIT_S})


def test_several_decode_steps_in_one_are_counted() -> None:
    script = Script()
    with script.recorder.record() as log:
        script.recorder.execute(make_plan((), (1,))).result()
        script.recorder.execute(dataclasses.replace(make_plan((1,)), num_decode_steps=8)).result()
    assert (log.num_steps, log.num_decode_steps) == (2, 9)


def test_readiness_is_the_executors() -> None:
    script = Script()
    with script.recorder.record() as log:
        pending = script.recorder.execute(make_plan((1,)))
        assert not pending.is_ready
        script.now_s = 101.0
        assert pending.is_ready
    assert log.wait_s == 0


def test_a_request_that_computes_its_prompt_again_keeps_its_first_time() -> None:
    script = Script()
    with script.recorder.record() as log:
        script.recorder.execute(make_plan((), (8,))).result()
        first_s = log.first_token_s[8]
        script.recorder.execute(make_plan((), (8,))).result()
    assert log.first_token_s == {8: first_s}


def test_books_are_looked_at_now_and_then() -> None:
    script = Script()
    with script.recorder.record() as log:
        for used, waste in ((25, 0.5), (90, 0.1), (30, 0.3)):
            script.stats = dataclasses.replace(STATS, num_used_blocks=used, waste=waste)
            for _ in range(LOOK_EVERY_STEPS):
                script.recorder.execute(make_plan((1,))).result()
    assert (log.peak_kv_use, log.wastes) == (0.9, [0.5, 0.1, 0.3])
    assert script.num_looks == 3


def test_without_a_log_everything_passes_through() -> None:
    script = Script()
    assert script.recorder.execute(make_plan((1,))) is script
    with script.recorder.record() as log:
        pass
    assert script.recorder.execute(make_plan((1,))) is script
    assert log.num_steps == 0
    script.recorder.reset()
    script.recorder.shutdown()
    assert script.calls == ["reset", "shutdown"]


def test_a_fault_while_waiting_reaches_the_engine() -> None:
    script = Script()

    def fail() -> RunnerOutput:
        raise RuntimeError("lost")

    script.result = fail  # type: ignore[method-assign]
    with script.recorder.record() as log, pytest.raises(RuntimeError, match="lost"):
        script.recorder.execute(make_plan((), (1,))).result()
    assert log.first_token_s == {}

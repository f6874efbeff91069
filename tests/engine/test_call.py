"""Leaving a call early: the prompt is back within half a second, and only this call's requests are gone."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from support.engine_rig import RigBuilder, RigExecutor, assert_idle, expected_tokens, make_engine

from pagednb.config import EngineConfig
from pagednb.engine.llm_engine import LLMEngine
from pagednb.engine.token_prompt import TokenPrompt
from pagednb.errors import ContextLengthError, PromptError
from pagednb.sampling_params import SamplingParams

ANSWER_S = 0.5
LONG = SamplingParams(seed=1, max_tokens=200)
STEP_S = 0.002


@pytest.fixture
def rig() -> Iterator[tuple[LLMEngine, RigExecutor]]:
    engine, executor = make_engine()
    executor.before_step = lambda: time.sleep(STEP_S)
    yield engine, executor
    engine.shutdown()


def seconds_to_answer(action: Callable[[], object], *delays_s: float) -> float:
    """Send Ctrl-C to this thread at each delay while ``action`` runs; return how long the last one took to come out."""
    sent: list[float] = []
    begun, is_out = threading.Event(), threading.Event()

    def press() -> None:
        begun.wait()
        start = time.perf_counter()
        for delay in delays_s:
            if is_out.wait(max(0.0, start + delay - time.perf_counter())):
                return  # a late key would hit whoever runs next
            sent.append(time.perf_counter())
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    try:
        begun.set()
        action()
        time.sleep(60)
        raise AssertionError("no interrupt came out")
    except KeyboardInterrupt:
        return time.perf_counter() - sent[-1]
    finally:
        is_out.set()
        presser.join()


def generate_long(engine: LLMEngine) -> None:
    engine.generate([[5] * 10] * 30, LONG)


def stream_long(engine: LLMEngine) -> None:
    for _ in engine.stream([5] * 10, LONG):
        pass


def poll_long(engine: LLMEngine) -> None:
    with engine.open_call() as call:
        for key in range(30):
            call.submit(key, [5] * 10, LONG)
        while call.num_pending:
            call.poll(60)


@pytest.mark.parametrize("wait", [generate_long, stream_long, poll_long])
@pytest.mark.parametrize("delay_s", [0.001, 0.05, 0.13])
def test_interrupt_returns_at_once_and_the_next_call_works(
    rig: tuple[LLMEngine, RigExecutor], wait: Callable[[LLMEngine], None], delay_s: float
) -> None:
    engine, _ = rig
    assert seconds_to_answer(lambda: wait(engine), delay_s) < ANSWER_S
    assert_idle(engine)
    (output,) = engine.generate([[5, 6]], SamplingParams(seed=9, max_tokens=5))
    assert output.outputs[0].token_ids == expected_tokens(9, 2, 5)


def test_interrupt_spares_the_calls_of_other_threads(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, _ = rig
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(engine.generate, [[5] * 3] * 4, SamplingParams(seed=4, max_tokens=150))
        seconds_to_answer(lambda: generate_long(engine), 0.05)
        assert not other.done()
        assert [o.outputs[0].token_ids for o in other.result(60)] == [expected_tokens(4, 3, 150)] * 4
    assert_idle(engine)


def test_an_engine_stuck_in_a_step_holds_nobody(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, executor = rig
    gate = threading.Event()
    executor.before_step = lambda: gate.wait(60) and None
    assert 0.3 < seconds_to_answer(lambda: generate_long(engine), 0.05) < ANSWER_S + 0.15
    assert seconds_to_answer(lambda: generate_long(engine), 0.05, 0.15) < 0.2
    gate.set()
    assert_idle(engine)


def test_interrupt_while_loading() -> None:
    is_over = threading.Event()

    def build(progress: Callable[[int, int], None]) -> None:
        try:
            for done in range(10_000):
                time.sleep(0.01)
                progress(done, 10_000)
        finally:
            is_over.set()

    builder = RigBuilder(while_building=build)
    assert seconds_to_answer(lambda: LLMEngine(EngineConfig(), builder=builder), 0.1) < ANSWER_S
    assert is_over.wait(5)


def test_cancellation_aborts_like_an_interrupt(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, _ = rig

    async def watch() -> None:
        with engine.open_call() as call:
            call.submit("a", [5] * 10, LONG)
            while call.num_pending:
                call.poll(0)
                await asyncio.sleep(0.01)

    async def cancel() -> None:
        task = asyncio.create_task(watch())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert_idle(engine)


def test_any_error_in_the_block_aborts_what_is_pending(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, _ = rig
    with pytest.raises(ZeroDivisionError), engine.open_call() as call:
        call.submit("done", [5], SamplingParams(max_tokens=1))
        while not call.poll():
            pass
        call.submit("pending", [5], LONG)
        call.poll(0.01)
        raise ZeroDivisionError
    assert call.num_pending == 0
    assert_idle(engine)


def test_a_refused_prompt_leaves_the_call_usable(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, _ = rig
    with engine.open_call() as call:
        call.submit(0, [5] * 4, SamplingParams(seed=2, max_tokens=3))
        refused: list[tuple[Any, type[Exception]]] = [
            ([], PromptError),
            ([5] * 256, ContextLengthError),
            (3, PromptError),
        ]
        for prompt, error in refused:
            with pytest.raises(error):
                call.submit(1, prompt, SamplingParams())
        assert call.num_pending == 1
        ((key, output),) = call.results()
    assert key == 0
    assert output.outputs[0].token_ids == expected_tokens(2, 4, 3)


def test_a_batch_is_one_command_and_the_first_step_sees_all_of_it(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, executor = rig
    admitted: list[int] = []
    execute = executor.execute
    executor.execute = lambda plan: admitted.append(len(plan.admissions)) or execute(plan)  # type: ignore[method-assign]
    outputs = engine.generate([[5, 6]] * 16, SamplingParams(seed=3, max_tokens=2))
    assert admitted[0] == 16
    assert [output.outputs[0].token_ids for output in outputs] == [expected_tokens(3, 2, 2)] * 16


def test_a_batch_with_a_refused_prompt_is_not_handed_over(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, executor = rig
    fits, is_too_long = (TokenPrompt(np.full(length, 5, dtype=np.int32)) for length in (4, 256))
    params = SamplingParams(seed=2, max_tokens=3)
    with engine.open_call() as call:
        with pytest.raises(ContextLengthError):
            call.submit_all([(0, fits, params), (1, is_too_long, params)])
        call.submit_all([])
        assert (call.num_pending, executor.num_steps) == (0, 0)
        call.submit_all([(key, fits, params) for key in range(3)])
        outputs = dict(call.results())
    assert {key: output.outputs[0].token_ids for key, output in outputs.items()} == dict.fromkeys(
        range(3), expected_tokens(2, 4, 3)
    )


def test_poll_without_time_returns_at_once(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, executor = rig
    gate = threading.Event()
    executor.before_step = lambda: gate.wait(60) and None
    with engine.open_call() as call:
        assert call.poll(30) == []  # nothing is pending
        call.submit(0, [5], SamplingParams(max_tokens=1))
        assert call.poll(0) == []
        gate.set()
        assert [key for key, _ in call.results()] == [0]


def test_slow_reader_of_a_stream_gets_the_latest_state(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, executor = rig
    executor.before_step = lambda: None
    with engine.open_call(stream=True) as call:
        call.submit(0, [5], SamplingParams(seed=1, max_tokens=200))
        while executor.num_steps < 150:
            time.sleep(0.001)
        ((_, step),) = call.poll()
        assert step.outputs[0].token_ids == expected_tokens(1, 1, 200)[: len(step.outputs[0].token_ids)]
        assert len(step.outputs[0].token_ids) > 100
        (*_, (_, last)) = [*call.results()] or [(0, step)]
    assert last.outputs[0].token_ids == expected_tokens(1, 1, 200)

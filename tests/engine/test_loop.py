"""Many threads on one engine: each gets its own answers, aborts touch only their own, faults reach everyone."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import sys
import threading
import time
import warnings
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.engine_client import Client, answer, engine_threads, params, raiser
from support.engine_rig import RigExecutor, assert_idle, expected_tokens, make_engine

from pagednb.engine.checked_prompts import ENCODE_BATCH
from pagednb.engine.core_service import CoreService
from pagednb.engine.llm_engine import LLMEngine
from pagednb.engine.submission import Submission
from pagednb.engine.switch_interval import SHORT_INTERVAL_S
from pagednb.engine.token_prompt import TokenPrompt
from pagednb.errors import ContextLengthError, EngineDeadError, EngineStepError, OptionError, PromptError
from pagednb.request import Request, RequestUpdate


@pytest.fixture(params=[0, 1], ids=["read at once", "launched ahead"])
def rig(request: pytest.FixtureRequest) -> Iterator[tuple[LLMEngine, RigExecutor]]:
    engine, executor = make_engine(launch_ahead=request.param)
    yield engine, executor
    engine.shutdown()
    assert not engine_threads()
    assert executor.is_shut_down


def test_traffic_of_many_threads(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, _ = rig
    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(lambda number: Client(engine, number).run(), range(12))) == 144
    assert_idle(engine)


def test_faults_at_random_steps_reach_all_and_end_nothing(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, executor = rig
    randomness = random.Random(1)

    def fault() -> None:
        if randomness.random() < 0.02:
            raise ZeroDivisionError("step failed on purpose")

    executor.before_step = fault

    def client(number: int) -> int:
        """Run the traffic, counting the calls that failed; whatever did not fail was right."""
        one, num_failed = Client(engine, number), 0
        for _ in range(10):
            try:
                one.random.choice([one.batch, one.stream, one.abandon, one.window])()
            except EngineStepError as error:
                assert isinstance(error.__cause__, ZeroDivisionError)
                assert "step failed on purpose" in str(error)
                num_failed += 1
        return num_failed

    with ThreadPoolExecutor(8) as pool:
        num_failed = sum(pool.map(client, range(8)))
    assert num_failed >= executor.num_resets > 0
    executor.before_step = lambda: None
    answer(engine)
    assert_idle(engine)


def test_what_a_caller_sends_before_it_hears_of_a_fault_goes_with_the_rest(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, executor = rig
    executor.before_step = raiser(ZeroDivisionError())
    with engine.open_call() as call:
        call.submit("first", [5, 6, 7], params(1))
        while not executor.num_resets:
            time.sleep(0.001)
        executor.before_step = lambda: time.sleep(0.002)
        call.submit("second", [5, 6, 7], params(2, 200))
        with pytest.raises(EngineStepError):
            list(call.results())
    assert_idle(engine)


def test_a_fault_keeps_nothing_of_its_step_alive(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, executor = rig
    held: list[weakref.ref[Any]] = []

    def fault() -> None:
        tensor = threading.Event()  # stands for a tensor in a local variable
        held.append(weakref.ref(tensor))
        raise ZeroDivisionError

    executor.before_step = fault
    with pytest.raises(EngineStepError) as caught:
        answer(engine)
    assert caught.value.__cause__ is not None
    assert held[0]() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_is_told_that_the_engine_stayed_behind(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, _ = rig
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: of fork beside threads
        child = os.fork()
    if child == 0:
        signal.alarm(10)  # a child that hangs dies of it
        told = 0
        for use in (answer, LLMEngine.status, LLMEngine.check_integrity):
            with contextlib.suppress(EngineDeadError):
                use(engine)
                continue
            told += 1
        engine.shutdown()
        os._exit(told)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    answer(engine)


def test_nothing_to_do_is_nothing_done(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, _ = rig
    answer(engine)
    num_looks = 0

    def count_looks(service: CoreService) -> None:
        core: Any = service.core
        step_as_ever = core.step

        def step() -> Any:
            nonlocal num_looks
            num_looks += 1
            return step_as_ever()

        core.step = step

    engine._loop.call(count_looks)
    threading.Event().wait(0.2)
    assert num_looks == 0
    answer(engine)
    assert num_looks >= 20


def test_an_error_in_an_admin_call_reaches_its_caller_only(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, _ = rig
    with pytest.raises(ZeroDivisionError):
        engine._loop.call(lambda service: 1 // 0)
    answer(engine)


def test_the_switch_interval_is_short_in_steps_and_put_back_when_idle(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, executor = rig
    usual_s, seen_s = sys.getswitchinterval(), []
    execute = executor.execute
    executor.execute = lambda plan: (seen_s.append(sys.getswitchinterval()), execute(plan))[1]  # type: ignore[method-assign]
    answer(engine)
    engine.shutdown()  # the answer comes a little before the engine finds nothing left to do
    assert sys.getswitchinterval() == usual_s
    assert len(seen_s) >= 20 and max(seen_s) == pytest.approx(SHORT_INTERVAL_S)


def test_a_thousand_prompts_are_handed_over_as_places_become_free(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, executor = rig
    nums_there: list[int] = []
    executor.before_step = lambda: nums_there.append(engine._loop._service.num_waiting)
    outputs = engine.generate([[5, 6, 7]] * 1000, [params(seed, max_tokens=4) for seed in range(1000)])
    assert [output.outputs[0].token_ids for output in outputs] == [expected_tokens(seed, 3, 4) for seed in range(1000)]
    assert ENCODE_BATCH <= max(nums_there) < ENCODE_BATCH + 2 * engine.max_num_seqs


def test_a_finished_request_leaves_nothing_for_the_garbage_collector(rig: tuple[LLMEngine, RigExecutor]) -> None:
    engine, _ = rig
    gc.collect()
    gc.disable()
    try:
        outputs = engine.generate([[5, 6, 7]] * 40, [params(seed, max_tokens=4, n=1 + seed % 2) for seed in range(40)])
        answer(engine)  # the loop has forgotten the first call by now
        kinds = Request, RequestUpdate, Submission, TokenPrompt
        alive = [each for each in gc.get_objects() if type(each) in kinds]
    finally:
        gc.enable()
    assert len(outputs) == 40
    assert len(alive) < 10, Counter(type(each).__name__ for each in alive)


@pytest.mark.parametrize(
    ("mistake", "error"),
    [({"prompt": [5] * 256}, ContextLengthError), ({"prompt": [321]}, PromptError), ({"max": 9999}, OptionError)],
)
def test_a_mistake_in_the_last_of_thousands_is_found_before_they_have_run(mistake: dict[str, Any], error: type) -> None:
    engine, executor = make_engine()
    prompts, all_params = [[5, 6, 7]] * 3000, [params(seed) for seed in range(3000)]
    prompts[-1] = mistake.get("prompt", prompts[-1])
    all_params[-1] = params(0, stop_token_ids=[mistake.get("max", 9)])
    with pytest.raises(error):
        engine.generate(prompts, all_params)
    assert executor.num_steps < 2000, "all of them take twice as many"
    assert_idle(engine)
    engine.shutdown()

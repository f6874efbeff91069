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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.engine_rig import RigBuilder, RigExecutor, assert_idle, expected_tokens, make_engine

from pagednb.config import EngineConfig
from pagednb.engine.checked_prompts import ENCODE_BATCH
from pagednb.engine.core_service import CoreService
from pagednb.engine.llm_engine import LLMEngine
from pagednb.engine.submission import Submission
from pagednb.engine.switch_interval import SHORT_INTERVAL_S
from pagednb.engine.token_prompt import TokenPrompt
from pagednb.errors import (
    ContextLengthError,
    EngineDeadError,
    EngineStepError,
    GPUMemoryError,
    OptionError,
    PromptError,
)
from pagednb.request import Request, RequestUpdate
from pagednb.sampling_params import SamplingParams


def params(seed: int, max_tokens: int = 20, **options: Any) -> SamplingParams:
    return SamplingParams(seed=seed, max_tokens=max_tokens, **options)


def answer(engine: LLMEngine, seed: int = 7) -> None:
    """One request that must come out right."""
    (output,) = engine.generate([[5, 6, 7]], params(seed))
    assert output.outputs[0].token_ids == expected_tokens(seed, 3, 20)


def engine_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pagednb-engine"]


@pytest.fixture(params=[0, 1], ids=["read at once", "launched ahead"])
def rig(request: pytest.FixtureRequest) -> Iterator[tuple[LLMEngine, RigExecutor]]:
    engine, executor = make_engine(launch_ahead=request.param)
    yield engine, executor
    engine.shutdown()
    assert not engine_threads()
    assert executor.is_shut_down


class Client:
    """One thread's mixed traffic, reproducible by its number."""

    def __init__(self, engine: LLMEngine, number: int) -> None:
        self.engine = engine
        self.random = random.Random(number)

    def run(self) -> int:
        for _ in range(12):
            self.random.choice([self.batch, self.stream, self.abandon, self.window, self.samples])()
        return 12

    def request(self) -> tuple[list[int], SamplingParams, tuple[int, ...]]:
        length, seed, new = self.random.randint(1, 40), self.random.randrange(10**6), self.random.randint(1, 40)
        return [5] * length, params(seed, new), expected_tokens(seed, length, new)

    def batch(self) -> None:
        prompts, all_params, expected = zip(*(self.request() for _ in range(self.random.randint(1, 8))), strict=True)
        outputs = self.engine.generate(prompts, all_params)
        assert [output.outputs[0].token_ids for output in outputs] == list(expected)

    def stream(self) -> None:
        prompt, request_params, expected = self.request()
        steps = list(self.engine.stream(prompt, request_params))
        assert all(step.outputs[0].token_ids == expected[: len(step.outputs[0].token_ids)] for step in steps)
        assert steps[-1].finished
        assert steps[-1].outputs[0].token_ids == expected

    def abandon(self) -> None:
        with self.engine.open_call() as call:
            for key in range(self.random.randint(1, 6)):
                prompt, request_params, _ = self.request()
                call.submit(key, prompt, request_params)
            call.poll(self.random.choice([0, 0.001, 0.01]))

    def window(self) -> None:
        expected = {}
        with self.engine.open_call(priority=self.random.randint(-1, 1)) as call:
            for key in range(12):
                prompt, request_params, expected[key] = self.request()
                call.submit(key, prompt, request_params)
                while call.num_pending > 3:
                    self.check(call.poll(), expected)
            self.check(call.results(), expected)
        assert not expected

    def samples(self) -> None:
        prompt, _, _ = self.request()
        (output,) = self.engine.generate([prompt], params(3, 9, n=3))
        assert [o.token_ids for o in output.outputs] == [expected_tokens(3 + i, len(prompt), 9) for i in range(3)]

    @staticmethod
    def check(results: Any, expected: dict[int, tuple[int, ...]]) -> None:
        for key, output in results:
            assert output.outputs[0].token_ids == expected.pop(key)


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


def lost_device() -> Exception:
    return RuntimeError("CUDA error: an illegal memory access was encountered")


def in_a_chain() -> Exception:
    try:
        raise ValueError("unrelated") from lost_device()
    except ValueError as error:
        return error


@pytest.mark.parametrize("make_error", [lost_device, in_a_chain])
def test_a_lost_device_ends_the_engine_for_all(make_error: Callable[[], Exception]) -> None:
    engine, executor = make_engine()
    executor.before_step = raiser(make_error())
    barrier = threading.Barrier(4)

    def client(number: int) -> None:
        barrier.wait()
        with pytest.raises(EngineDeadError, match=r"Restart the kernel"):
            answer(engine, number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(client, range(4)))
    for use in (engine.status, engine.check_integrity, lambda: list(engine.stream([5], params(1))), engine.open_call):
        with pytest.raises(EngineDeadError, match="Restart the kernel"):
            use()
    assert engine.is_over
    engine.shutdown()
    assert not engine_threads()


def test_a_fault_that_cannot_be_reset_ends_the_engine() -> None:
    engine, executor = make_engine()
    executor.before_step = raiser(ZeroDivisionError("first"))
    executor.reset_fault = MemoryError("second")
    with pytest.raises(EngineDeadError, match="second") as caught:
        answer(engine)
    assert isinstance(caught.value.__cause__, MemoryError)
    engine.shutdown()


def raiser(error: Exception) -> Callable[[], None]:
    def fault() -> None:
        raise error

    return fault


def test_shutdown_tells_those_who_wait() -> None:
    engine, executor = make_engine()
    started = threading.Event()
    executor.before_step = started.set

    def client() -> None:
        with pytest.raises(EngineDeadError, match="shut down"), engine.open_call() as call:
            for key in range(50):
                call.submit(key, [5] * 10, params(key, 200))
            list(call.results())

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(client)
        assert started.wait(10)
        engine.shutdown()
        done.result(10)
    assert executor.is_shut_down


def test_an_engine_that_was_shut_down_can_be_forgotten() -> None:
    engine, _ = make_engine()
    answer(engine)
    engine.shutdown()
    loop = weakref.ref(engine._loop)
    del engine
    gc.collect()
    assert loop() is None


def test_an_error_while_building_is_raised_as_it_was_and_leaves_nothing() -> None:
    held: list[weakref.ref[Any]] = []

    def fail(progress: object) -> None:
        weights = threading.Event()
        held.append(weakref.ref(weights))
        raise GPUMemoryError("too large", hint="Take a smaller one.")

    with pytest.raises(GPUMemoryError, match=r"too large Take a smaller one\."):
        LLMEngine(EngineConfig(), builder=RigBuilder(while_building=fail))
    assert not engine_threads()
    assert held[0]() is None


def test_progress_of_loading_is_shown_on_the_callers_thread() -> None:
    shown: list[tuple[int, int]] = []
    threads = set()

    def build(progress: Callable[[int, int], None]) -> None:
        for done in range(11):
            progress(done, 10)

    def show(done: int, total: int) -> None:
        threads.add(threading.current_thread())
        shown.append((done, total))

    engine = LLMEngine(EngineConfig(), progress=show, builder=RigBuilder(while_building=build))
    engine.shutdown()
    assert shown[-1] == (10, 10)
    assert threads == {threading.current_thread()}


def test_an_interrupted_load_leaves_no_thread() -> None:
    def slowly(progress: Callable[[int, int], None]) -> None:
        while True:
            progress(1, 2)
            time.sleep(0.02)

    def interrupt(num_done: int, num_total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LLMEngine(EngineConfig(), progress=interrupt, builder=RigBuilder(while_building=slowly))
    assert not engine_threads()


def test_an_interrupt_right_after_the_build_leaves_no_thread() -> None:
    """A notebook keeps the last traceback, and with it the engine: nobody else would end the thread."""

    def interrupt(num_done: int, num_total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builder = RigBuilder(while_building=lambda progress: progress(2, 2))
        LLMEngine(EngineConfig(), progress=interrupt, builder=builder)
    assert not engine_threads()


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

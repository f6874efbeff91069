"""An engine that sleeps: who is refused and how, what ends waking, and that nothing of the books is lost by it."""

from __future__ import annotations

import _thread
import dataclasses
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from support.engine_rig import RigBuilder, RigExecutor, assert_idle, expected_tokens, make_engine
from support.rig_sleeper import KEPT_BYTES, RigSleeper

from pagednb.config import EngineConfig
from pagednb.engine.embedding import embed
from pagednb.engine.llm_engine import LLMEngine
from pagednb.engine.mailbox import Mailbox
from pagednb.engine.metrics import MemoryUse
from pagednb.errors import (
    EngineAsleepError,
    EngineBusyError,
    EngineDeadError,
    GPUMemoryError,
    OptionError,
    RequestCancelledError,
)
from pagednb.monitoring.frame import frame_of
from pagednb.sampling_params import SamplingParams
from pagednb.sleep_state import SleepState

PROMPT = [5, 6, 7, 8, 9, 10]


class Rig:
    """A running engine and all that a test may hold of it."""

    def __init__(self, **options: Any) -> None:
        self.builder = RigBuilder(**options)
        self.engine, self.executor = make_engine(self.builder)
        self.sleeper: RigSleeper = self.builder.sleeper

    def answer(self, seed: int = 7) -> int:
        """One request that must come out right; return how many of its prompt's tokens were cached."""
        (output,) = self.engine.generate([PROMPT], SamplingParams(seed=seed, max_tokens=20))
        assert output.outputs[0].token_ids == expected_tokens(seed, len(PROMPT), 20)
        return output.num_cached_tokens

    def wait_for_a_command(self) -> None:
        """Return when somebody has asked the engine thread for something."""
        deadline_s = time.perf_counter() + 20
        while not self.engine._loop._commands.qsize():
            assert time.perf_counter() < deadline_s
            time.sleep(0.001)


@pytest.fixture(params=[0, 1], ids=["read at once", "launched ahead"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(launch_ahead=request.param)
    yield rig
    rig.engine.shutdown()
    assert rig.executor.is_shut_down and rig.sleeper.is_forgotten


@pytest.mark.parametrize("level", [1, 2, np.int64(2)])
def test_it_sleeps_and_goes_on_with_its_books_but_no_prefixes(rig: Rig, level: int) -> None:
    assert rig.answer() == 0
    assert rig.answer() > 0, "the second finds the first's prefix"
    rig.engine.sleep(level)
    assert rig.engine.asleep == SleepState(int(level), host_bytes=KEPT_BYTES if level == 1 else 0)  # type: ignore[arg-type]
    rig.engine.wake_up()
    assert rig.engine.asleep is None
    assert rig.answer() == 0, "what the cache held is gone"
    assert rig.engine.status().num_finished == 3
    assert_idle(rig.engine)


def uses() -> dict[str, Callable[[LLMEngine], object]]:
    params = SamplingParams(max_tokens=3)
    return {
        "generate": lambda engine: engine.generate([PROMPT], params),
        "stream": lambda engine: list(engine.stream(PROMPT, params)),
        "open_call": lambda engine: engine.open_call(),
        "embed": lambda engine: embed(engine, [PROMPT], pooling="last"),
    }


@pytest.mark.parametrize("use", uses())
def test_who_asks_a_sleeping_engine_hears_what_to_do(rig: Rig, use: str) -> None:
    rig.engine.sleep()
    with pytest.raises(EngineAsleepError, match=r"The engine is asleep\. Call wake_up\(\) or %llm wake first\."):
        uses()[use](rig.engine)
    assert rig.executor.num_steps == 0
    rig.engine.wake_up()
    rig.answer()
    assert_idle(rig.engine)


def test_a_call_that_was_opened_before_is_refused_too(rig: Rig) -> None:
    with rig.engine.open_call() as call:
        rig.engine.sleep()
        with pytest.raises(EngineAsleepError):
            call.submit(0, PROMPT, SamplingParams(max_tokens=3))
        rig.engine.wake_up()
    assert_idle(rig.engine)


def test_a_request_that_was_sent_before_the_engine_slept_is_told(rig: Rig) -> None:
    """It meets a sleeping engine on the engine thread: no caller may wait for ever."""
    mailbox = Mailbox()
    with rig.engine.open_call(mailbox=mailbox) as call:
        rig.engine._loop.raise_if_unable = lambda: None  # type: ignore[method-assign]  # it looked a moment ago
        rig.engine.sleep()
        call.submit(0, PROMPT, SamplingParams(max_tokens=3))
        with pytest.raises(EngineAsleepError):
            list(call.results())
    rig.engine.wake_up()
    rig.answer()


def test_what_needs_no_device_works_while_it_sleeps(rig: Rig) -> None:
    rig.engine.sleep()
    assert rig.engine.decode(rig.engine.encode(["Hello"])[0].tolist()) == "<s>Hello"
    rig.engine.tokenize(["Hello"])
    rig.engine.reset_prefix_cache()
    assert rig.engine.cancel_all() == 0
    assert_idle(rig.engine)


def test_requests_under_way_are_not_put_to_sleep(rig: Rig) -> None:
    is_running, may_go_on = threading.Event(), threading.Event()

    def hold() -> None:
        is_running.set()
        assert may_go_on.wait(20)

    rig.executor.before_step = hold
    with ThreadPoolExecutor(2) as pool:
        answers = pool.submit(rig.engine.generate, [PROMPT] * 3, SamplingParams(seed=7, max_tokens=20))
        assert is_running.wait(20)
        refused = pool.submit(rig.engine.sleep)
        rig.wait_for_a_command()
        may_go_on.set()
        with pytest.raises(EngineBusyError, match=r"while 3 requests are under way\. .*%llm cancel"):
            refused.result(20)
        tokens = expected_tokens(7, len(PROMPT), 20)
        assert [output.outputs[0].token_ids for output in answers.result(20)] == [tokens] * 3, "nothing is lost"
    rig.engine.sleep()
    rig.engine.wake_up()
    rig.answer()


def test_it_sleeps_at_once_after_everything_was_cancelled(rig: Rig) -> None:
    """Steps of what was cancelled may still be on their way."""
    rig.executor.before_step = lambda: rig.wait_for_a_command() if rig.executor.num_steps == 5 else None
    stream = rig.engine.stream(PROMPT, SamplingParams(max_tokens=200))
    next(stream)
    assert rig.engine.cancel_all() == 1
    rig.executor.before_step = lambda: None
    rig.engine.sleep()
    with pytest.raises(RequestCancelledError):
        list(stream)
    rig.engine.wake_up()
    rig.answer()
    assert_idle(rig.engine)


def test_sleeping_twice_and_waking_twice_change_nothing(rig: Rig) -> None:
    rig.engine.wake_up()
    assert rig.sleeper.num_wakes == 0
    for _ in range(2):
        rig.engine.sleep(1)
    rig.engine.sleep(2)
    assert rig.engine.asleep == SleepState(2, host_bytes=0)
    with pytest.raises(OptionError):
        rig.engine.sleep(1)
    for _ in range(2):
        rig.engine.wake_up()
    assert rig.sleeper.num_wakes == 1
    rig.answer()


@pytest.mark.parametrize("level", [0, 3, "1", None, 1.5, True])
def test_a_level_that_is_none_is_refused(rig: Rig, level: Any) -> None:
    with pytest.raises(OptionError, match=r"level=.* is not valid: it must be 1 \(weights in host memory\) or 2"):
        rig.engine.sleep(level)
    rig.answer()


def test_a_failure_to_fall_asleep_leaves_it_awake(rig: Rig) -> None:
    rig.answer()
    rig.sleeper.sleep_fault = GPUMemoryError("no room")
    with pytest.raises(GPUMemoryError):
        rig.engine.sleep()
    assert rig.engine.asleep is None
    assert rig.answer() > 0, "prefixes are still there"


@pytest.mark.parametrize("reason", ["taken by others", "memory cannot be pinned (CUDA error 2)"])
def test_a_failure_to_wake_up_leaves_it_asleep_to_try_again(rig: Rig, reason: str) -> None:
    def fail(progress: object) -> None:
        raise GPUMemoryError(reason)

    rig.engine.sleep()
    rig.sleeper.while_waking = fail
    for _ in range(2):
        with pytest.raises(GPUMemoryError, match=re.escape(reason)):
            rig.engine.wake_up()
        with pytest.raises(EngineAsleepError):
            rig.answer()
    assert rig.executor.is_shut_down, "what the attempt had taken was given back"
    rig.sleeper.while_waking = lambda progress: None
    rig.engine.wake_up()
    rig.answer()


def test_a_device_that_is_lost_while_waking_ends_the_engine() -> None:
    rig = Rig()
    rig.engine.sleep()

    def fail(progress: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    rig.sleeper.while_waking = fail
    with pytest.raises(RuntimeError, match="illegal memory access"):
        rig.engine.wake_up()
    with pytest.raises(EngineDeadError, match="Restart the kernel"):
        rig.engine.wake_up()
    assert rig.engine.is_over


def test_progress_of_waking_is_shown_on_the_callers_thread(rig: Rig) -> None:
    shown: list[tuple[int, int]] = []
    threads = set()
    was_shown = threading.Event()

    def show(num_done: int, num_total: int) -> None:
        shown.append((num_done, num_total))
        threads.add(threading.current_thread())
        was_shown.set()

    def load(progress: Callable[[int, int], None]) -> None:
        progress(3, 10)
        assert was_shown.wait(20)

    rig.sleeper.while_waking = load
    rig.engine.sleep()
    rig.engine.wake_up(progress=show)
    assert shown[0] == (3, 10) and shown[-1] == (1, 1)
    assert threads == {threading.current_thread()}


def test_an_interrupt_while_waking_leaves_it_asleep(rig: Rig) -> None:
    given_up = threading.Event()

    def load_for_ever(progress: Callable[[int, int], None]) -> None:
        _thread.interrupt_main()
        try:
            while True:
                progress(1, 2)
                threading.Event().wait(0.01)
        finally:
            given_up.set()

    rig.engine.sleep()
    rig.sleeper.while_waking = load_for_ever
    with pytest.raises(KeyboardInterrupt):
        rig.engine.wake_up()
    assert given_up.wait(20)
    assert rig.engine.asleep is not None
    rig.sleeper.while_waking = lambda progress: None
    rig.engine.wake_up()
    rig.answer()


def test_shutdown_while_waking_ends_both() -> None:
    rig = Rig()
    is_waking = threading.Event()

    def load_for_ever(progress: Callable[[int, int], None]) -> None:
        while True:
            progress(1, 2)
            is_waking.set()
            threading.Event().wait(0.01)

    rig.engine.sleep()
    rig.sleeper.while_waking = load_for_ever
    with ThreadPoolExecutor(1) as pool:
        waking = pool.submit(rig.engine.wake_up)
        assert is_waking.wait(20)
        rig.engine.shutdown()
        with pytest.raises(EngineDeadError, match="shut down"):
            waking.result(20)
    assert rig.executor.is_shut_down and rig.sleeper.is_forgotten


def test_an_engine_that_is_over_neither_sleeps_nor_wakes() -> None:
    rig = Rig()
    rig.engine.sleep()
    rig.engine.shutdown()
    for use in (rig.engine.sleep, rig.engine.wake_up, rig.answer):
        with pytest.raises(EngineDeadError, match="shut down"):
            use()


def test_threads_that_put_to_sleep_and_wake_exclude_each_other(rig: Rig) -> None:
    def client(number: int) -> int:
        num_answers = 0
        for turn in range(20):
            try:
                if number < 2:
                    rig.engine.sleep(1 + turn % 2)
                    rig.engine.wake_up()
                else:
                    rig.answer(number)
                    num_answers += 1
            except (EngineAsleepError, EngineBusyError, OptionError):
                pass
        return num_answers

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(client, range(6)))
    rig.engine.wake_up()
    rig.answer()
    assert_idle(rig.engine)


class MemoryBuilder(RigBuilder):
    """A rig whose device is known: 100 GiB, of which 10 are others'."""

    def build(self, resolved: Any, progress: Any) -> Any:
        gib = 2**30
        memory = MemoryUse(
            total_bytes=100 * gib,
            used_before_bytes=10 * gib,
            weight_bytes=20 * gib,
            activation_bytes=gib,
            graph_bytes=gib,
            kv_cache_bytes=50 * gib,
        )
        return dataclasses.replace(super().build(resolved, progress), memory=memory)


def test_status_and_monitor_say_that_it_sleeps() -> None:
    engine = LLMEngine(EngineConfig(), builder=MemoryBuilder())
    try:
        engine.sleep(1)
        status = engine.status()
        for shown in (repr(status), status._repr_html_(), status._repr_markdown_()):
            assert "asleep, level 1: 3 MiB of weights in host memory" in shown
            assert "none; 64 of 4 tokens when awake" in shown
            assert "weights 0 KiB" in shown and "free 90 GiB of 100 GiB" in shown
        frame = frame_of(status, [])
        assert frame["state"] == "asleep"
        assert frame["said"].startswith("The engine is asleep, level 1: 3 MiB of weights in host memory.")
        assert dict(frame["memory"])["free"] == 90 * 2**30
        engine.sleep(2)
        assert "asleep, level 2: weights dropped, read again when it wakes up" in repr(engine.status())
        engine.wake_up()
        assert "asleep" not in repr(engine.status()) and "free 18 GiB" in repr(engine.status())
    finally:
        engine.shutdown()


def test_a_forgotten_engine_that_sleeps_ends() -> None:
    rig = Rig()
    rig.engine.sleep()
    executor: RigExecutor = rig.executor
    sleeper = rig.sleeper
    threads = [thread for thread in threading.enumerate() if thread.name == "pagednb-engine"]
    del rig.engine
    for thread in threads:
        thread.join(20)
    assert executor.is_shut_down and sleeper.is_forgotten

"""How the engine's loop ends, or never begins: lost devices, shutdowns, and loads that fail or are interrupted."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.engine_client import answer, engine_threads, params, raiser
from support.engine_rig import RigBuilder, make_engine

from pagednb.config import EngineConfig
from pagednb.engine.llm_engine import LLMEngine
from pagednb.errors import EngineDeadError, GPUMemoryError


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

"""Everything under way is ended at once: who waits hears of it, the books are clean, the next call is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from support.engine_rig import assert_idle, expected_tokens, make_engine

from pagednb.engine.llm_engine import LLMEngine
from pagednb.errors import EngineDeadError, RequestCancelledError
from pagednb.sampling_params import SamplingParams


@pytest.fixture(params=[0, 1], ids=["read at once", "launched ahead"])
def engine(request: pytest.FixtureRequest) -> Iterator[LLMEngine]:
    engine, executor = make_engine(launch_ahead=request.param)
    executor.before_step = lambda: time.sleep(0.005)
    yield engine
    engine.shutdown()


def test_every_waiting_caller_is_told(engine: LLMEngine) -> None:
    errors: list[BaseException] = []
    options = [SamplingParams(seed=seed, n=2, max_tokens=None, ignore_eos=True) for seed in (1, 2)]
    streams = [engine.stream([5] * 9, params) for params in options]
    begun = threading.Barrier(3)

    def watch(stream: Iterator[object]) -> None:
        next(stream)
        begun.wait(timeout=20)
        try:
            list(stream)
        except RequestCancelledError as error:
            errors.append(error)

    threads = [threading.Thread(target=watch, args=(stream,)) for stream in streams]
    for thread in threads:
        thread.start()
    begun.wait(timeout=20)
    finished_before = engine.status().num_finished
    num_cancelled = engine.cancel_all()
    for thread in threads:
        thread.join(timeout=20)
    assert num_cancelled == 4
    assert len(set(map(id, errors))) == 2, "an exception of its own for each"
    assert engine.status().num_finished == finished_before + 4
    assert_idle(engine)
    (output,) = engine.generate([[5, 6, 7]], SamplingParams(seed=7, max_tokens=20))
    assert output.outputs[0].token_ids == expected_tokens(7, 3, 20)


def test_with_nothing_under_way_nothing_happens(engine: LLMEngine) -> None:
    assert engine.cancel_all() == 0
    engine.shutdown()
    with pytest.raises(EngineDeadError):
        engine.cancel_all()

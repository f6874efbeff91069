"""The monitor of a running engine: it looks while views are open, shows what is true, and leaves nothing behind."""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from support.engine_rig import RigBuilder, make_engine

from pagednb import runtime
from pagednb.engine.llm_engine import LLMEngine
from pagednb.engine.status import EngineStatus
from pagednb.monitoring import monitor as monitor_module
from pagednb.monitoring.film import filming
from pagednb.monitoring.frame import MAX_REQUESTS, frame_of
from pagednb.monitoring.monitor import Monitor, monitor
from pagednb.monitoring.rates import Rates
from pagednb.sampling_params import SamplingParams

TIMEOUT_S = 60.0


class LoadedRig:
    """What the runtime keeps of a loaded engine."""

    def __init__(self, engine: LLMEngine) -> None:
        self.engine = engine
        self.status = engine.status
        self.shutdown = engine.shutdown


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[LLMEngine]:
    engine, executor = make_engine(RigBuilder(num_blocks=41))
    executor.before_step = lambda: time.sleep(0.002)
    monkeypatch.setattr(runtime._RUNTIME, "llm", LoadedRig(engine))
    monkeypatch.setattr(runtime._RUNTIME, "name_to_kept", {})
    yield engine
    runtime.unload()


def run(engine: LLMEngine, num_prompts: int = 6, max_tokens: int = 60) -> None:
    params = SamplingParams(max_tokens=max_tokens, ignore_eos=True)
    engine.generate([[2 + number, 3, 4, 5, 6] for number in range(num_prompts)], params)


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not is_true():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pagednb-")]


def test_it_looks_only_while_a_view_is_open(engine: LLMEngine) -> None:
    watched = monitor()
    assert monitor() is watched and not watched.is_watching
    watched.watch("one")
    watched.watch("two")
    wait_until(lambda: watched.view.frame.get("state") == "idle")
    assert threads().count("pagednb-monitor") == 1
    watched.leave("one")
    assert watched.is_watching
    watched.leave("two")
    watched.leave("two")
    assert not watched.is_watching and "pagednb-monitor" not in threads()
    assert repr(watched) == "<pagednb monitor: not watching>"


def test_frames_follow_a_run_and_rest_with_the_engine(engine: LLMEngine) -> None:
    watched = monitor()
    frames: list[dict] = []
    watched.view.observe(lambda change: frames.append(change["new"]), "frame")
    watched.watch("view")
    num_runs = 0
    while not (working := [frame for frame in frames if frame["state"] == "working"]):  # a short run may be missed
        run(engine, num_prompts=12)
        num_runs += 1
    wait_until(lambda: watched.view.frame["state"] == "idle" and watched.view.frame["num_finished"] == 12 * num_runs)
    assert all(sum(frame["grid"]["counts"]) == 40 for frame in frames)
    assert all(frame["num_running"] == len([r for r in frame["requests"] if r["blocks"]]) for frame in working)
    assert json.loads(json.dumps(frames[-1])) == frames[-1]
    watched.leave("view")


def test_unloading_ends_it_and_a_view_that_speaks_begins_anew(
    engine: LLMEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = monitor()
    watched.watch("view")
    wait_until(lambda: "grid" in watched.view.frame)
    runtime.unload()
    assert not watched.is_watching and threads() == []
    assert watched.view.frame["state"] == "unloaded"
    watched.watch("view")
    assert not watched.is_watching
    again, _ = make_engine()
    monkeypatch.setattr(runtime._RUNTIME, "llm", LoadedRig(again))
    watched.watch("view")
    wait_until(lambda: "grid" in watched.view.frame)
    runtime.unload()
    assert threads() == []


def test_a_page_that_is_gone_is_forgotten_when_the_engine_rests(
    engine: LLMEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_module, "SILENCE_S", 0.0)
    watched = monitor()
    watched.watch("gone")
    wait_until(lambda: not watched.is_watching)
    assert runtime.is_loaded()


def test_an_engine_that_dies_ends_it(engine: LLMEngine) -> None:
    watched = monitor()
    watched.watch("view")
    engine.shutdown()
    wait_until(lambda: not watched.is_watching)
    assert watched.view.frame["state"] == "unloaded" and "stopped by" not in repr(watched)


def test_a_cell_shows_the_widget_and_readers_without_one_a_table(engine: LLMEngine) -> None:
    watched = monitor()
    bundle, _ = watched._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == watched.view.model_id
    assert "KV blocks" in bundle["text/plain"] and "<table" in bundle["text/html"]
    assert watched.is_watching, "before the view speaks: the kernel may be busy with the next cell"
    watched.watch("view")
    watched.leave("view")
    assert not watched.is_watching


def test_what_colab_needs_to_draw_a_widget_stays_with_it(engine: LLMEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colab draws no widget without the address of a widget manager, which anywidget puts beside it."""
    beside = {"application/vnd.jupyter.widget-view+json": {"colab": {"custom_widget_manager": {"url": "an address"}}}}
    watched = Monitor()
    monkeypatch.setattr(type(watched.view), "_repr_mimebundle_", lambda view, **options: ({"text/plain": ""}, beside))
    data, metadata = watched._repr_mimebundle_()
    assert metadata == beside and data["text/plain"]


def test_without_an_engine_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime._RUNTIME, "llm", None)
    watched = Monitor()
    assert "pagednb.load()" in watched._repr_mimebundle_()[0]["text/plain"]
    assert watched.view.frame["said"] == "No model is loaded."


def test_a_film_has_every_stage_and_the_end(engine: LLMEngine) -> None:
    with filming() as film:
        run(engine, num_prompts=4, max_tokens=30)
    assert all(a.num_steps < b.num_steps or a is film[-2] for a, b in itertools.pairwise(film))
    assert len([status for status in film if status.running]) > 5
    assert film[-1].num_finished == 4 and not film[-1].running
    assert threads() == ["pagednb-engine"]


def test_a_frame_is_the_status_and_bounded() -> None:
    engine, executor = make_engine(RigBuilder(num_blocks=300, max_num_seqs=40, max_num_batched_tokens=400))
    statuses: list[EngineStatus] = []
    is_taken = threading.Event()
    executor.before_step = lambda: time.sleep(0.002)

    def look() -> None:
        while not statuses or len(statuses[-1].running) < 40:
            statuses.append(engine.status())
        is_taken.set()

    camera = threading.Thread(target=look, daemon=True)
    camera.start()
    run(engine, num_prompts=60, max_tokens=20)
    assert is_taken.wait(TIMEOUT_S)
    engine.shutdown()
    status = statuses[-1]
    rates = Rates()
    rates.add(status)
    frame = frame_of(status, rates.history)
    assert (frame["num_running"], frame["num_waiting"]) == (40, status.scheduler.num_waiting)
    assert len(frame["requests"]) == MAX_REQUESTS and len(json.dumps(frame)) < 20_000
    codes = np.frombuffer(base64.b64decode(frame["grid"]["codes"]), dtype="<u2")
    for block_id in (1, 57, 199):
        code = int(codes[block_id - 1])
        assert status.blocks.owners(block_id) == tuple(frame["grid"]["owners"][code - 2][1:] if code > 1 else ())
    assert sum(size for _, size in frame["memory"]) == status.memory.total_bytes

"""The singleton: loaded once, replaced only on purpose, gone without a trace; and an import that costs nothing."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.tiny_models import tiny_model

import pagednb
from pagednb import runtime
from pagednb.errors import EngineDeadError, EngineNotLoadedError, ModelLoadError, NotSupportedYetError, OptionError
from pagednb.sampling_params import SamplingParams

IMPORT_SECONDS = 0.3
HEAVY = ("torch", "pandas", "IPython", "transformers", "tqdm", "triton", "tokenizers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model("llama2", tmp_path_factory.mktemp("model"), tokenizer=True))


@pytest.fixture(autouse=True)
def unloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PAGEDNB_PROGRESS", "0")
    yield
    pagednb.unload()


def load(folder: str, **options: Any) -> pagednb.LLM:
    return pagednb.load(folder, device="cpu", **options)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


def test_import_is_quick_and_brings_nothing_heavy() -> None:
    code = (
        "import time, sys, json; start = time.perf_counter(); import pagednb, pagednb.runtime, pagednb.config\n"
        f"print(json.dumps([time.perf_counter() - start, [m for m in {HEAVY} if m in sys.modules]]))"
    )
    runs = [json.loads(run_python(code).stdout) for _ in range(3)]
    assert [heavy for _, heavy in runs] == [[], [], []]
    assert min(seconds for seconds, _ in runs) < IMPORT_SECONDS


def test_public_names_exist_and_others_do_not() -> None:
    for name in pagednb.__all__:
        assert getattr(pagednb, name) is not None
        assert name in dir(pagednb)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pagednb.nothing  # noqa: B018


def test_without_load_every_door_says_so() -> None:
    assert not runtime.is_loaded()
    with pytest.raises(EngineNotLoadedError, match=r"pagednb\.load"):
        runtime.get_engine()
    status = pagednb.status()
    assert not status.is_loaded
    assert "pagednb.load()" in str(status)
    assert "pagednb.load()" in status._repr_html_()
    pagednb.unload()


def test_the_same_load_again_is_the_same_engine(folder: str) -> None:
    llm = load(folder)
    assert load(folder) is llm
    assert load(pathlib.Path(folder)) is llm
    assert runtime.get_engine() is llm.engine
    assert pagednb.status().is_loaded


def test_a_different_load_says_what_differs_and_how_to_replace(folder: str) -> None:
    llm = load(folder, max_model_len=64)
    with pytest.raises(OptionError, match=r"max_model_len=64 \(asked: 128\).*replace=True"):
        load(folder, max_model_len=128)
    with pytest.raises(OptionError, match=r"model=.* \(asked: the embedded one\)"):
        pagednb.load()
    assert runtime.get_engine() is llm.engine
    other = load(folder, max_model_len=128, replace=True)
    assert runtime.get_engine() is other.engine
    assert other.engine.geometry.max_model_len == 128
    with pytest.raises(EngineDeadError, match="shut down"):
        llm.generate("a", SamplingParams(max_tokens=1), use_tqdm=False)


def test_an_engine_that_is_over_is_loaded_anew(folder: str) -> None:
    llm = load(folder)
    llm.shutdown()
    again = load(folder)
    assert again is not llm
    assert len(again.generate("the", SamplingParams(max_tokens=2), use_tqdm=False)) == 1


def test_failed_load_leaves_nothing(folder: str) -> None:
    before = threading.active_count()
    with pytest.raises(ModelLoadError):
        pagednb.load("no/such/folder/at/all", device="cpu")
    with pytest.raises(OptionError, match="max_model_len"):
        load(folder, max_model_lenn=3)
    with pytest.raises(NotSupportedYetError, match="tensor_parallel_size"):
        load(folder, tensor_parallel_size=2)
    assert not runtime.is_loaded()
    assert threading.active_count() == before


def test_unload_ends_the_thread_and_may_be_repeated(folder: str) -> None:
    load(folder)
    assert [t.name for t in threading.enumerate() if t.name == "pagednb-engine"] == ["pagednb-engine"]
    pagednb.unload()
    pagednb.unload()
    assert not [t for t in threading.enumerate() if t.name == "pagednb-engine"]
    assert not runtime.is_loaded()


def test_an_unload_that_was_interrupted_goes_on_with_the_next(folder: str) -> None:
    llm = load(folder)
    calls = []

    def end() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            raise KeyboardInterrupt

    runtime.before_unload(end)
    with pytest.raises(KeyboardInterrupt):
        pagednb.unload()
    assert runtime.is_loaded()
    pagednb.unload()
    assert calls == [0, 1]
    assert llm.engine.is_over


def test_threads_that_load_at_the_same_time_get_one_engine(folder: str) -> None:
    loaded: list[pagednb.LLM] = []
    threads = [threading.Thread(target=lambda: loaded.append(load(folder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 4
    assert len(set(map(id, loaded))) == 1


def test_a_script_that_never_unloads_ends(folder: str) -> None:
    code = (
        f"import pagednb; llm = pagednb.load({folder!r}, device='cpu')\n"
        "print(len(llm.generate('the', pagednb.SamplingParams(max_tokens=3, ignore_eos=True))[0].outputs[0].token_ids))"
    )
    start = time.perf_counter()
    done = run_python(code)
    assert done.stdout == "3\n", done.stderr
    assert done.returncode == 0
    assert time.perf_counter() - start < 100

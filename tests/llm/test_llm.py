"""``LLM`` itself: its options and methods, what it shows and counts, how it ends and what it survives."""

from __future__ import annotations

import gc
import pathlib
import threading
import time
from typing import Any

import pytest
import tqdm
from support.tiny_llm import GREEDY, MAX_MODEL_LEN, PROMPTS

from pagednb import LLM, SamplingParams
from pagednb.engine.core_service import CoreService
from pagednb.errors import EngineDeadError, EngineStepError, NotSupportedYetError, OptionError
from pagednb.vllm_methods import METHODS_NOT_BUILT_YET


def test_default_parameters_come_from_the_generation_config(llm: LLM) -> None:
    assert llm.get_default_sampling_params() == SamplingParams(temperature=0.5, top_k=7)
    assert len(llm.generate("a")) == 1


def test_unknown_and_unbuilt_options_are_named(folder: pathlib.Path) -> None:
    with pytest.raises(OptionError, match="Did you mean 'max_model_len'"):
        LLM(str(folder), max_modellen=3)
    with pytest.raises(NotSupportedYetError, match="quantization"):
        LLM(str(folder), quantization="awq")
    with pytest.raises(NotSupportedYetError, match="extra_args"):
        SamplingParams(extra_args={"a": 1})


@pytest.mark.parametrize("name", sorted(METHODS_NOT_BUILT_YET))
def test_methods_of_vllm_that_are_not_built_say_so(llm: LLM, name: str) -> None:
    with pytest.raises(NotSupportedYetError, match=rf"LLM\.{name} is not built yet\. \w+"):
        getattr(llm, name)
    assert not hasattr(llm, name)
    with pytest.raises(AttributeError, match="no attribute 'slep'"):
        llm.slep  # noqa: B018


def test_metrics_have_vllms_names(llm: LLM) -> None:
    before = {metric.name: metric.value for metric in llm.get_metrics()}
    llm.generate(PROMPTS, GREEDY)
    after = {metric.name: metric for metric in llm.get_metrics()}
    assert after["vllm:generation_tokens"].value - before["vllm:generation_tokens"] == 24 * len(PROMPTS)
    assert after["vllm:num_requests_running"].value == 0
    assert {after["vllm:generation_tokens"].kind, after["vllm:kv_cache_usage_perc"].kind} == {"counter", "gauge"}


def test_bars_appear_only_when_wanted(
    folder: pathlib.Path, llm: LLM, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if tqdm.tqdm.monitor is not None:  # a thread that bars of others started
        tqdm.tqdm.monitor.exit()
        tqdm.tqdm.monitor = None
    llm.generate("a", GREEDY)
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("PAGEDNB_PROGRESS", "1")
    llm.generate("a", GREEDY, use_tqdm=False)
    assert capfd.readouterr().err == ""
    llm.generate("a", GREEDY)
    assert "Processed prompts" in capfd.readouterr().err
    LLM(str(folder), device="cpu", max_model_len=MAX_MODEL_LEN).shutdown()
    assert capfd.readouterr().err == "", "over before a bar is worth a line"
    monkeypatch.setattr("pagednb.engine.progress.LOAD_DELAY_S", 0.0)
    LLM(str(folder), device="cpu", max_model_len=MAX_MODEL_LEN).shutdown()
    assert "Loading weights" in capfd.readouterr().err
    assert tqdm.tqdm.monitor is None


def test_status_shows_what_happened(llm: LLM) -> None:
    before = llm.status()
    llm.generate(PROMPTS, GREEDY)
    after = llm.status()
    assert after.num_finished - before.num_finished == len(PROMPTS)
    assert after.tokens_out - before.tokens_out == len(PROMPTS) * 24
    assert after.tokens_in > before.tokens_in
    assert after.memory.weight_bytes > 0
    assert "KV blocks" in str(after)
    assert "<table" in after._repr_html_()


def test_prefix_cache_is_used_and_reset(llm: LLM) -> None:
    prompt = list(range(10, 60))
    llm.reset_prefix_cache()
    first, second = (llm.generate([prompt], GREEDY)[0] for _ in range(2))
    assert first.num_cached_tokens == 0
    assert second.num_cached_tokens >= 40
    llm.reset_prefix_cache()
    assert llm.generate([prompt], GREEDY)[0].num_cached_tokens == 0


def test_forgetting_it_ends_its_thread(folder: pathlib.Path) -> None:
    before = threading.active_count()
    llm = LLM(str(folder), device="cpu", max_model_len=MAX_MODEL_LEN)
    llm.generate("a", GREEDY)
    assert threading.active_count() == before + 1
    del llm
    gc.collect()
    deadline = time.perf_counter() + 10
    while threading.active_count() > before and time.perf_counter() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_after_shutdown_every_call_says_so(folder: pathlib.Path) -> None:
    llm = LLM(str(folder), device="cpu", max_model_len=MAX_MODEL_LEN)
    llm.shutdown()
    llm.shutdown()
    for use in (lambda: llm.generate("a", GREEDY), llm.status, llm.reset_prefix_cache):
        with pytest.raises(EngineDeadError, match="shut down"):
            use()


def test_after_a_fault_in_the_model_the_next_answer_is_right(llm: LLM) -> None:
    expected = llm.generate(PROMPTS, GREEDY)

    def break_step(service: CoreService) -> None:
        core: Any = service.core
        execute, steps = core.executor.execute, iter(range(100))

        def execute_and_fail(plan: Any) -> Any:
            pending = execute(plan)  # the rows on the device have advanced, then the step fails
            if next(steps) == 5:
                core.executor.execute = execute
                raise FloatingPointError("nan in the logits")
            return pending

        core.executor.execute = execute_and_fail

    llm.engine._loop.call(break_step)
    with pytest.raises(EngineStepError, match="nan in the logits"):
        llm.generate(PROMPTS, GREEDY)
    again = llm.generate(PROMPTS, GREEDY)
    assert [output.outputs for output in again] == [output.outputs for output in expected]
    assert all(output.num_cached_tokens == 0 for output in again)

"""Swap to host memory on a real model: a pool far too small changes no answer, whatever happens meanwhile."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.core_engine import CoreEngine
from support.tiny_models import VOCAB_SIZE, tiny_model

from pagednb import LLM, SamplingParams
from pagednb.beam_search_params import BeamSearchParams
from pagednb.errors import EngineStepError
from pagednb.runner.model_runner import ModelRunner
from pagednb.scheduler.output import SchedulerOutput

# blocks for one request, a tenth of what they need together
SMALL = {"num_gpu_blocks_override": 26, "swap_space": 0.01, "preemption_mode": "swap"}
OPTIONS: dict[str, Any] = {"device": "cpu", "dtype": "float32", "max_model_len": 96, "block_size": 4}
NUM_REQUESTS = 12
KINDS: list[dict[str, Any]] = [
    {},
    {"temperature": 0},
    {"n": 3},
    {"logprobs": 2, "repetition_penalty": 1.3},
    {"prompt_logprobs": 2, "temperature": 0},
    {"regex": "[a-e ]{10,30}", "ignore_eos": False},
]
PARAMS = [SamplingParams(**{"seed": i, "max_tokens": 30, "ignore_eos": True, **KINDS[i % 6]}) for i in range(12)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny_model("qwen3", tmp_path_factory.mktemp("model"), tokenizer=True)


@pytest.fixture(scope="module")
def llm(folder: pathlib.Path) -> Iterator[LLM]:
    with LLM(str(folder), **OPTIONS, **SMALL) as llm:
        yield llm


@pytest.fixture(autouse=True)
def nothing_is_left(llm: LLM) -> Iterator[None]:
    yield
    llm.engine.check_integrity()
    stats = llm.status().scheduler
    assert (stats.num_used_blocks, stats.num_used_host_blocks, stats.num_swapped) == (0, 0, 0)


def make_prompts() -> list[dict[str, list[int]]]:
    generator = torch.Generator().manual_seed(3)
    lengths = [30 + 3 * index for index in range(NUM_REQUESTS)]
    prompts = [torch.randint(3, VOCAB_SIZE, (length,), generator=generator).tolist() for length in lengths]
    prompts[5][:20] = prompts[7][:20] = prompts[9][:20]
    return [{"prompt_token_ids": prompt} for prompt in prompts]


def answers(llm: LLM) -> list[Any]:
    outputs = llm.generate(make_prompts(), PARAMS, use_tqdm=False)
    return [[sample.token_ids for sample in output.outputs] for output in outputs]


@pytest.fixture(scope="module")
def calm_answers(folder: pathlib.Path) -> list[Any]:
    with LLM(str(folder), **OPTIONS) as calm:
        found = answers(calm)
        assert calm.status().scheduler.num_preemptions == 0
        return found


def test_answers_are_those_of_an_ample_pool(llm: LLM, calm_answers: list[Any]) -> None:
    before = llm.status().scheduler
    assert answers(llm) == calm_answers
    after = llm.status().scheduler
    assert after.num_swaps > before.num_swaps and after.num_blocks_swapped_in > before.num_blocks_swapped_in


def test_beams_are_those_of_an_ample_pool(llm: LLM, folder: pathlib.Path) -> None:
    params, prompts = BeamSearchParams(beam_width=3, max_tokens=12), make_prompts()[:4]
    with LLM(str(folder), **OPTIONS) as calm:
        expected = [[beam.tokens for beam in output.sequences] for output in calm.beam_search(prompts, params)]
    assert [[beam.tokens for beam in output.sequences] for output in llm.beam_search(prompts, params)] == expected


def test_a_fault_while_requests_are_swapped_loses_nothing_but_them(
    llm: LLM, calm_answers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = ModelRunner.execute

    def fail_with_a_swap(runner: ModelRunner, plan: SchedulerOutput) -> Any:
        if len(plan.swap_ins):
            raise RuntimeError("a fault of the device")
        return execute(runner, plan)

    monkeypatch.setattr(ModelRunner, "execute", fail_with_a_swap)
    with pytest.raises(EngineStepError, match="a fault of the device"):
        answers(llm)
    monkeypatch.undo()
    assert answers(llm) == calm_answers


def test_cancelling_while_requests_are_swapped_frees_their_blocks(folder: pathlib.Path) -> None:
    engine = CoreEngine(folder, max_model_len=96, block_size=4, **SMALL)
    prompts = [prompt["prompt_token_ids"] for prompt in make_prompts()]
    ids = [engine.add(prompt, SamplingParams(max_tokens=30, ignore_eos=True)) for prompt in prompts]
    while not engine.scheduler.stats().num_swapped:
        engine.core.step()
    engine.scheduler.abort(ids)
    engine.scheduler.check_integrity()
    stats = engine.scheduler.stats()
    assert (stats.num_swapped, stats.num_used_host_blocks, stats.num_used_blocks) == (0, 0, 0)


@pytest.mark.parametrize("level", [1, 2])
def test_after_a_sleep_there_is_host_memory_again(llm: LLM, calm_answers: list[Any], level: int) -> None:
    llm.sleep(level=level)
    llm.wake_up()
    before = llm.status().scheduler.num_blocks_swapped_in
    assert answers(llm) == calm_answers
    assert llm.status().scheduler.num_blocks_swapped_in > before


def test_figures_are_shown(llm: LLM) -> None:
    answers(llm)
    figures = {metric.name: metric.value for metric in llm.get_metrics()}
    stats = llm.status().scheduler
    assert figures["vllm:num_preemptions_by_swap"] == stats.num_swaps > 0
    assert figures["vllm:num_blocks_swapped_out"] == stats.num_blocks_swapped_out >= stats.num_blocks_swapped_in > 0
    assert figures["vllm:num_requests_swapped"] == figures["vllm:cpu_cache_usage_perc"] == 0
    assert f"{stats.num_swaps} of them by swap; 0 of {stats.num_host_blocks:,} host blocks in use" in str(llm.status())

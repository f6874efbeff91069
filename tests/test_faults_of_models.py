"""A model that fails: by an exception, for want of memory, or with logits that are no numbers. Everyone is told, the
engine answers the next request, and nothing is left.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pandas as pd
import pytest
import torch
from support.engine_rig import assert_idle
from support.served import events, start
from support.tiny_models import tiny_model

import pagednb
from pagednb import LLM, SamplingParams
from pagednb.beam_search_params import BeamSearchParams
from pagednb.errors import EngineStepError

PROMPTS = [[5 + index, 6, 7, 8] for index in range(12)]
GREEDY = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)
LONG = SamplingParams(temperature=0, max_tokens=90, ignore_eos=True)


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    folder = tiny_model("llama3.2", tmp_path_factory.mktemp("model"), tokenizer=True)
    with LLM(str(folder), device="cpu", dtype="float32", max_model_len=96, block_size=8) as llm:
        yield llm


@contextlib.contextmanager
def spoiled(llm: LLM, spoil: Callable[[int, torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Hand the logits of every step to ``spoil``, with the step's number."""
    model = llm.engine._loop.call(lambda service: service.core.executor._parts.model)
    compute_logits, num_steps = model.compute_logits, 0

    def spoiling(hidden: torch.Tensor) -> torch.Tensor:
        nonlocal num_steps
        num_steps += 1
        return spoil(num_steps, compute_logits(hidden))

    model.compute_logits = spoiling
    try:
        yield
    finally:
        del model.compute_logits


def nan_from(step: int) -> Callable[[int, torch.Tensor], torch.Tensor]:
    return lambda number, logits: torch.full_like(logits, torch.nan) if number >= step else logits


def answers(llm: LLM, params: SamplingParams = GREEDY) -> list[tuple[int, ...]]:
    return [output.outputs[0].token_ids for output in llm.generate(PROMPTS, params, use_tqdm=False)]


@pytest.mark.parametrize("step", [1, 2, 9])
@pytest.mark.parametrize("kind", [ValueError, torch.cuda.OutOfMemoryError, MemoryError])
def test_an_exception_at_any_step_reaches_every_caller(llm: LLM, kind: type[Exception], step: int) -> None:
    expected = answers(llm)
    errors: list[Exception] = []

    def ask() -> None:
        try:
            answers(llm, LONG)
        except EngineStepError as error:
            errors.append(error)

    num_shared = 0

    def fail_shared(number: int, logits: torch.Tensor) -> torch.Tensor:
        """Fail at the ``step``th of those that work for both callers."""
        nonlocal num_shared
        if llm.engine._loop._service.num_waiting < 2 * len(PROMPTS):
            time.sleep(0.02)  # until the other one is there
            return logits
        num_shared += 1
        if num_shared == step:
            raise kind("on purpose")
        return logits

    with spoiled(llm, fail_shared):
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [type(error.__cause__) for error in errors] == [kind] * 2
    assert_idle(llm.engine)
    assert answers(llm) == expected


@pytest.mark.parametrize("first_step", [1, 2, 7])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1, "top_p": 0.9},
        {"logprobs": 2},
        {"repetition_penalty": 1.2},
        {"n": 2, "temperature": 1},
    ],
    ids=lambda options: "+".join(options) or "greedy",
)
def test_logits_of_nan_end_their_answers_with_the_reason(llm: LLM, options: dict, first_step: int) -> None:
    expected = answers(llm)
    params = SamplingParams(**{"temperature": 0, "max_tokens": 24, "ignore_eos": True, "seed": 1, **options})
    with spoiled(llm, nan_from(first_step)):
        outputs = llm.generate(PROMPTS, params, use_tqdm=False)
    for output in outputs:
        for completion in output.outputs:
            assert completion.finish_reason == "abort" and "logits are NaN" in completion.stop_reason
            assert len(completion.token_ids) < 24 and min(completion.token_ids, default=0) >= 0
    assert_idle(llm.engine)
    assert answers(llm) == expected


def test_nothing_computed_beside_nan_is_kept_for_later_prompts(llm: LLM) -> None:
    prompt = list(range(5, 45))
    llm.generate([prompt], GREEDY, use_tqdm=False)
    assert llm.status().scheduler.num_cached_blocks > 0
    with spoiled(llm, nan_from(3)):
        llm.generate([prompt], GREEDY, use_tqdm=False)
    assert llm.status().scheduler.num_cached_blocks == 0


def test_one_row_of_nan_spoils_no_other(llm: LLM) -> None:
    expected = answers(llm)

    def spoil_one(number: int, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill(0, torch.tensor([0]), torch.nan) if number == 3 else logits

    with spoiled(llm, spoil_one):
        outputs = llm.generate(PROMPTS, GREEDY, use_tqdm=False)
    ends = [output.outputs[0].finish_reason for output in outputs]
    assert sorted(ends) == ["abort", *["length"] * (len(PROMPTS) - 1)]
    for output, tokens in zip(outputs, expected, strict=True):
        told = output.outputs[0].token_ids
        assert told == tokens[: len(told)]
    assert_idle(llm.engine)


def test_a_stream_of_nan_ends_with_the_reason(llm: LLM) -> None:
    with spoiled(llm, nan_from(4)):
        *_, last = llm.engine.stream(PROMPTS[0], GREEDY)
    assert last.finished and "logits are NaN" in last.outputs[0].stop_reason
    assert len(last.outputs[0].token_ids) == 3


def test_what_returns_no_answers_raises_the_reason(llm: LLM) -> None:
    prompt = list(range(5, 25))
    with spoiled(llm, nan_from(1)):
        with pytest.raises(EngineStepError, match="logits are NaN"):
            llm.embed([prompt])
        with pytest.raises(EngineStepError, match="logits are NaN"):
            llm.score(prompt, [prompt])
        with pytest.raises(EngineStepError, match="logits are NaN"):
            llm.beam_search([prompt], BeamSearchParams(beam_width=2, max_tokens=4))
    assert_idle(llm.engine)
    assert len(llm.embed([prompt])[0].outputs.embedding)


def test_rows_of_a_frame_say_why_they_failed() -> None:
    frame = pd.DataFrame({"text": [f"ticket {number}" for number in range(6)]})
    loaded = pagednb.load(device="cpu", num_gpu_blocks_override=200)
    try:
        with spoiled(loaded, nan_from(1)), pytest.warns(UserWarning, match="6 of 6"):
            labelled = frame.llm.generate("{text}", max_tokens=4, into="team", cache=False)
        assert labelled["team"].isna().all()
        assert labelled["team_error"].str.contains("logits are NaN").all()
    finally:
        pagednb.unload()


def test_clients_are_told_of_nan(llm: LLM) -> None:
    server = start(llm.engine)
    body = {"prompt": PROMPTS[0], "max_tokens": 24, "ignore_eos": True, "temperature": 0}
    chat = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 9, "ignore_eos": True, "temperature": 0}
    with httpx.Client(base_url=server.url, timeout=20) as client:
        with spoiled(llm, nan_from(3)):
            whole = client.post("/v1/completions", json=body)
            stream = client.post("/v1/completions", json={**body, "stream": True})
            generated = client.post("/generate", json={"prompt": "a", "max_tokens": 9, "ignore_eos": True})
            chatted = client.post("/v1/chat/completions", json=chat)
        for answer in (whole, generated, chatted):
            assert (answer.status_code, answer.json()["error"]["code"]) == (500, "engine_error"), answer.text
            assert "logits are NaN" in answer.json()["error"]["message"]
        assert "logits are NaN" in events(stream)[-1]["error"]["message"]
        assert client.post("/v1/completions", json=body).status_code == 200
    server.stop()
    assert_idle(llm.engine)

"""Embeddings equal transformers' last hidden states, pooled, however prompts are cut, shared and sent back."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from support.core_engine import CoreEngine
from support.tiny_models import VOCAB_SIZE, tiny_model

from pagednb import LLM, SamplingParams
from pagednb.errors import ContextLengthError, OptionError
from pagednb.request import Pooling

POOLINGS: tuple[Pooling, ...] = ("mean", "last", "cls")
PROMPT_LENGTHS = (1, 2, 16, 17, 33, 48, 64)
SWAP = {"swap_space": 0.001, "preemption_mode": "swap"}
DISTURBANCES: dict[str, dict[str, Any]] = {
    "whole": {},
    "chunks of 9, launch-ahead": {"max_num_batched_tokens": 9, "block_size": 4, "launch_ahead": 1},
    "preemption, launch-ahead": {"num_gpu_blocks_override": 26, "block_size": 4, "launch_ahead": 1, "decode_steps": 4},
    "preemption by swap": {"num_gpu_blocks_override": 26, "block_size": 4, "launch_ahead": 1, **SWAP},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny_model("llama3.2", tmp_path_factory.mktemp("model"), tokenizer=True)


@pytest.fixture(scope="module")
def theirs(folder: pathlib.Path) -> Any:
    return transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def llm(folder: pathlib.Path, best_device: str) -> Iterator[LLM]:
    with LLM(str(folder), device=best_device, dtype="float32", max_model_len=96, block_size=8) as llm:
        yield llm
        llm.engine.check_integrity()
        assert llm.status().scheduler.num_used_blocks == 0


def make_prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(8)
    common = torch.randint(3, VOCAB_SIZE, (12,), generator=generator).tolist()
    drawn = [torch.randint(3, VOCAB_SIZE, (n,), generator=generator).tolist() for n in PROMPT_LENGTHS]
    return [(common + prompt)[: len(prompt)] for prompt in drawn]


def expected(model: Any, prompt: list[int], pooling: Pooling) -> np.ndarray:
    with torch.no_grad():
        hidden = model(torch.tensor([prompt])).last_hidden_state[0]
    return {"mean": hidden.mean(dim=0), "last": hidden[-1], "cls": hidden[0]}[pooling].numpy()


@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_equal_to_transformers_whatever_else_is_in_the_batch(
    folder: pathlib.Path, theirs: Any, disturbance: str, monkeypatch: pytest.MonkeyPatch, best_device: str
) -> None:
    engine = CoreEngine(folder, device=best_device, max_model_len=96, **DISTURBANCES[disturbance])
    prompts, add = make_prompts(), engine.scheduler.add
    params = SamplingParams(temperature=0, max_tokens=20, ignore_eos=True)
    kinds: list[Pooling | None] = [*(POOLINGS * 3)[: len(prompts) - 1], None]
    pending = iter(kinds)
    monkeypatch.setattr(engine.scheduler, "add", lambda r: add(dataclasses.replace(r, pooling=next(pending))))
    updates = engine.generate(prompts, [params] * len(prompts))
    for prompt, kind, update in zip(prompts, kinds, updates, strict=True):
        if kind is None:
            assert update.embedding is None
        else:
            np.testing.assert_allclose(update.embedding, expected(theirs, prompt, kind), atol=3e-4)
    assert (engine.scheduler.stats().num_preemptions > 0) == ("preemption" in disturbance)
    assert (engine.scheduler.stats().num_blocks_swapped_in > 0) == ("swap" in disturbance)
    silent = CoreEngine(folder, device=best_device, max_model_len=96).tokens(prompts, [params] * len(prompts))
    assert [update.output_token_ids.tolist() for update in updates] == silent


@pytest.mark.parametrize("pooling", POOLINGS)
def test_embeddings_of_texts(llm: LLM, theirs: Any, pooling: Pooling) -> None:
    texts = ["where is my order?", "it was late, again!", "where is my order?"]
    plain = llm.encode(texts, pooling=pooling)
    for text, output, unit in zip(texts, plain, llm.embed(texts, pooling=pooling), strict=True):
        ids = llm.get_tokenizer().encode(text)
        assert output.prompt_token_ids == tuple(ids)
        vector = expected(theirs, ids, pooling)
        np.testing.assert_allclose(output.outputs.embedding, vector, atol=3e-4)
        np.testing.assert_allclose(unit.outputs.embedding, vector / np.linalg.norm(vector), atol=3e-4)
    assert llm.embed([], pooling=pooling) == []


def test_scores_are_cosines(llm: LLM) -> None:
    texts = ["where is my order?", "it was late, again!", "the lazy dog."]
    one, *others = (np.array(each.outputs.embedding) for each in llm.embed([texts[0], *texts]))
    scores = [each.outputs.score for each in llm.score(texts[0], texts)]
    np.testing.assert_allclose(scores, [one @ other for other in others], atol=1e-5)
    assert scores[0] == pytest.approx(1, abs=1e-4)
    pairs = llm.score(texts, texts[::-1])
    assert pairs[1].outputs.score == pytest.approx(1, abs=1e-4)
    assert pairs[0].outputs.score == pytest.approx(pairs[2].outputs.score, abs=1e-4)
    with pytest.raises(OptionError, match="3 texts cannot be paired with 2"):
        llm.score(texts, texts[:2])


def test_mistakes_are_refused_and_long_prompts_cut(llm: LLM) -> None:
    with pytest.raises(OptionError, match="pooling='max' is not valid"):
        llm.embed("a", pooling="max")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="normalize"):
        llm.embed("a", normalize=1)  # type: ignore[arg-type]
    with pytest.raises(ContextLengthError, match="96 tokens"):
        llm.embed([[5] * 96])
    (cut,) = llm.embed([[5] * 50 + [7] * 90], truncate_prompt_tokens=90)
    assert cut.prompt_token_ids == (7,) * 90

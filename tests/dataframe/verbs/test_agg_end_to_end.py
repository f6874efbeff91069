"""``agg`` through a real engine: transformers' own words about all rows, and prompts that keep the budget."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
import torch
import transformers
from support.tiny_models import tiny_hf_model, tiny_model

import pagednb
from pagednb.dataframe.results.last_run import last_run
from pagednb.engine.input_processor import InputProcessor
from pagednb.engine.token_prompt import TokenPrompt

MAX_TOKENS = 6
TEXTS = ["where is my order?", "the fox jumps", None, "was it late again", "the fox jumps", "", "dog!"]
TEMPLATE = "about {team}:\n{text}\nin short:"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny_model("llama3.2", tmp_path_factory.mktemp("model"), tokenizer=True)


@pytest.fixture(scope="module", autouse=True)
def loaded(folder: pathlib.Path) -> Iterator[None]:
    pagednb.load(folder, device="cpu", dtype="float32", max_model_len=512, max_num_seqs=4, max_num_batched_tokens=64)
    yield
    pagednb.unload()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The prompts that reach the engine, in tokens."""
    prompts: list[list[int]] = []
    make_requests = InputProcessor.make_requests

    def listening(self: InputProcessor, prompt: TokenPrompt, *arguments: Any, **options: Any) -> Any:
        prompts.append(prompt.token_ids.tolist())
        return make_requests(self, prompt, *arguments, **options)

    monkeypatch.setattr(InputProcessor, "make_requests", listening)
    return prompts


def tokens_of(folder: pathlib.Path, prompt: str) -> list[int]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": prompt}]
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))


def reference(folder: pathlib.Path, token_ids: list[int]) -> str:
    ids = torch.tensor([token_ids])
    with torch.inference_mode():
        output = tiny_hf_model("llama3.2").generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=MAX_TOKENS, do_sample=False
        )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return str(tokenizer.decode(output[0, len(token_ids) :], skip_special_tokens=True))


def test_a_group_that_fits_one_call_is_that_call(folder: pathlib.Path) -> None:
    data = pd.DataFrame({"text": TEXTS, "team": list("babbaab")}, index=[1] * 7)
    result = pagednb.frame(data).agg(TEMPLATE, by="team", separator="\n", max_tokens=MAX_TOKENS, progress=False)
    for team, texts in (("a", [1, 4, 5]), ("b", [0, 3, 6])):
        joined = "\n".join(str(TEXTS[row]) for row in texts)
        assert result[team] == reference(folder, tokens_of(folder, f"about {team}:\n{joined}\nin short:"))


def test_a_tree_keeps_the_budget_and_its_root_is_transformers_too(folder: pathlib.Path, asked: list[list[int]]) -> None:
    texts = pd.Series([f"order {number} is late again and again" for number in range(60)])
    options = {"token_budget": 160, "max_tokens": MAX_TOKENS, "progress": False, "cache": False}
    result = pagednb.frame(texts).agg("say: {}", combine="merge: {answers}", **options)
    assert 5 < len(asked) == last_run().figures.computed
    assert max(map(len, asked)) <= 160
    assert max(map(len, asked)) > 120, "calls are well filled"
    *leaves, root = asked
    answers = "\n\n".join(reference(folder, leaf) for leaf in leaves)
    assert root == tokens_of(folder, f"merge: {answers}")
    assert result == reference(folder, root)


def test_the_engine_stays_clean_after_an_interrupt() -> None:
    texts = pd.Series([f"order {number} is late again and again" for number in range(60)])

    def interrupt(figures: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pagednb.frame(texts).agg("say: {}", token_budget=260, max_tokens=40, progress=interrupt)
    engine = pagednb.runtime.get_engine()
    engine.check_integrity()
    scheduler = engine.status().scheduler
    assert (scheduler.num_running, scheduler.num_waiting, scheduler.num_used_blocks) == (0, 0, 0)
    assert pd.isna(last_run().frame)

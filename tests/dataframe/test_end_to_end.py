"""A frame through a real engine: the texts are transformers' own, whatever shares the batch."""

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
from pagednb import runtime
from pagednb.dataframe import accessor
from pagednb.errors import EngineNotLoadedError, OptionError, RowErrorsWarning

MAX_TOKENS = 6
MAX_MODEL_LEN = 200
TEXTS = ["where is my order?", "the fox jumps", None, "was it late again", "the fox jumps", "lazy " * 300, "", "dog!"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny_model("llama3.2", tmp_path_factory.mktemp("model"), tokenizer=True)


@pytest.fixture(scope="module")
def loaded(folder: pathlib.Path) -> Iterator[pagednb.LLM]:
    yield pagednb.load(folder, device="cpu", dtype="float32", max_model_len=MAX_MODEL_LEN, max_num_seqs=3)
    pagednb.unload()
    accessor.unregister()


def reference(folder: pathlib.Path, prompts: list[str]) -> list[str]:
    model = tiny_hf_model("llama3.2")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = []
    for prompt in prompts:
        messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            output = model.generate(**ids, max_new_tokens=MAX_TOKENS, do_sample=False)
        texts.append(tokenizer.decode(output[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts


def test_without_an_engine_the_verb_says_how_to_load_one() -> None:
    assert not runtime.is_loaded()
    with pytest.raises(EngineNotLoadedError, match="load"):
        pagednb.frame(pd.Series(["a"])).generate()
    with pytest.raises(OptionError):
        pagednb.frame("a")


@pytest.mark.usefixtures("loaded")
def test_rows_have_the_answers_of_transformers(folder: pathlib.Path) -> None:
    data = pd.DataFrame({"text": TEXTS}, index=[5, 5, 4, 4, 3, 3, 2, 2])
    with pytest.warns(RowErrorsWarning, match=r"1 of 8 rows failed; the first is row 5: The prompt has \d+ tokens"):
        result = data.llm.generate("say: {text}", system="be brief", max_tokens=MAX_TOKENS, progress=False)
    answered = [0, 1, 3, 4, 6, 7]
    expected = reference(folder, [f"say: {TEXTS[row]}" for row in answered])
    assert result["generated"].iloc[answered].tolist() == expected
    assert result["generated"].isna().tolist() == [False, False, True, False, False, True, False, False]
    figures = result.attrs["pagednb"]
    assert (figures["computed"], figures["duplicates"], figures["failed"], figures["missing"]) == (5, 1, 1, 1)
    assert figures["output_tokens"] <= 5 * MAX_TOKENS
    assert figures["tokens_per_s"] > 0


@pytest.mark.usefixtures("loaded")
def test_a_seed_makes_sampling_repeatable() -> None:
    texts = pd.Series([f"order {i} is late" for i in range(20)])
    options = {"temperature": 1.5, "max_tokens": 4, "progress": False, "cache": False}
    runs = [texts.llm.generate("{}", seed=seed, **options) for seed in (1, 1, 2)]
    assert runs[0].tolist() == runs[1].tolist()
    assert runs[0].tolist() != runs[2].tolist()


@pytest.mark.usefixtures("loaded")
def test_the_engine_stays_clean_after_an_interrupted_run() -> None:
    seen: list[int] = []

    def interrupt(figures: object) -> None:
        seen.append(1)
        raise KeyboardInterrupt

    texts = pd.Series([f"order {i} is late" for i in range(50)])
    with pytest.raises(KeyboardInterrupt):
        texts.llm.generate(max_tokens=50, progress=interrupt)
    assert seen == [1]
    engine = runtime.get_engine()
    engine.check_integrity()
    scheduler = engine.status().scheduler
    assert (scheduler.num_running, scheduler.num_waiting, scheduler.num_used_blocks) == (0, 0, 0)
    again = texts.llm.generate(max_tokens=3, progress=False)
    assert again.notna().all()


@pytest.mark.usefixtures("loaded")
def test_a_text_has_its_log_probability(folder: pathlib.Path) -> None:
    model = tiny_hf_model("llama3.2")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    data = pd.DataFrame({"text": ["where is my order?", None, "dog!"]}, index=[2, 2, 2])
    result = data.llm.generate("{text}", temperature=0, max_tokens=MAX_TOKENS, logprobs=True, progress=False)
    assert result["generated_logprob"].dtype == "float32"
    assert result["generated_logprob"].isna().tolist() == [False, True, False]
    for row in (0, 2):
        messages = [{"role": "user", "content": data["text"].iloc[row]}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            whole = model.generate(**ids, max_new_tokens=MAX_TOKENS, do_sample=False)
            logprobs = model(whole).logits[0].log_softmax(-1)
        start = ids["input_ids"].shape[1]
        expected = sum(float(logprobs[place - 1, whole[0, place]]) for place in range(start, whole.shape[1]))
        assert result["generated_logprob"].iloc[row] == pytest.approx(expected, abs=1e-3)


@pytest.mark.usefixtures("loaded")
def test_several_texts_a_row_are_lists() -> None:
    data = pd.DataFrame({"text": ["where is my order?", None, "dog!", "lazy " * 300]})
    options = {"temperature": 1.5, "seed": 3, "max_tokens": 4, "progress": False}
    with pytest.warns(RowErrorsWarning, match="1 of 4 rows failed"):
        result = data.llm.generate("{text}", n=3, logprobs=True, **options)
    assert [texts and len(texts) for texts in result["generated"]] == [3, None, 3, None]
    assert len(result["generated_logprob"].iloc[0]) == 3 and result["generated_logprob"].iloc[1] is None
    alone = [
        data.iloc[2:3].llm.generate("{text}", **{**options, "seed": seed})["generated"].iloc[0] for seed in (3, 4, 5)
    ]
    assert result["generated"].iloc[2] == alone
    series = data["text"].iloc[:3].llm.generate("{}", n=2, sample=1, **options)
    assert series.name == "text" and series.notna().sum() == 1


def num_computed(result: pd.DataFrame) -> int:
    """Prompt tokens of a run that were not in the KV cache."""
    figures = result.attrs["pagednb"]
    return int(figures["prompt_tokens"] - figures["cached_tokens"])


@pytest.mark.usefixtures("loaded")
def test_several_questions_find_the_rows_that_the_first_one_left() -> None:
    engine = runtime.get_engine()
    block_size = engine.geometry.block_size
    data = pd.DataFrame(
        {"text": [f"{word}? where is my order, it was late again! " * 3 for word in ("fox", "dog", "a")]}
    )
    lengths = [
        len(ids) for ids in engine.encode([f"<s><user>{text}" for text in data["text"]], add_special_tokens=False)
    ]
    num_shareable = sum((length - 1) // block_size * block_size for length in lengths)
    assert num_shareable >= 2 * block_size * len(data)
    first, second, third = (
        num_computed(data.llm.filter("{text}" + question, progress=False))
        for question in ("is it late?", "is it lazy?", "is it over?")
    )
    assert max(second, third) <= first - num_shareable
    options = {"multi": True, "progress": False}
    one = num_computed(data.assign(text="!" + data["text"]).llm.classify("text", labels=["late"], **options))
    many = num_computed(
        data.assign(text="?" + data["text"]).llm.classify("text", labels=["late", "lazy", "over"], **options)
    )
    assert many <= one + 2 * (one - num_shareable)  # one row's questions share it, too


def test_several_jobs_and_a_chat_share_the_engine(loaded: pagednb.LLM) -> None:
    data = pd.DataFrame({"text": [f"order {row} is late" for row in range(40)]})
    options: dict[str, Any] = {"max_tokens": 5, "cache": False}
    greedy = pagednb.SamplingParams(temperature=0, max_tokens=6)
    asked = [{"role": "user", "content": "where is my order?"}]
    alone = loaded.chat(asked, greedy, use_tqdm=False)[0].text
    generated = data.llm.generate("{text}?", progress=False, **options)
    jobs = [data.llm.generate("{text}?", background=True, **options) for _ in range(2)]
    labelling = data.llm.classify("text", labels=["late", "lazy"], background=True, cache=False)
    assert loaded.chat(asked, greedy, use_tqdm=False)[0].text == alone
    for job in jobs:
        pd.testing.assert_frame_equal(job.result(), generated)
    labelled = data.llm.classify("text", labels=["late", "lazy"], progress=False, cache=False)
    assert labelling.result()["label"].tolist() == labelled["label"].tolist()

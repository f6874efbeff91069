"""Sleeping on a tiny real model, through everything that a person calls: answers, refusals, and what stays."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest
from support.shell import raising_shell
from support.tiny_models import tiny_model

import pagednb
from pagednb import LLM, BeamSearchParams, SamplingParams
from pagednb.errors import EngineAsleepError, EngineNotLoadedError, NotSupportedYetError, OptionError

PROMPTS = ["the quick brown fox", "where is my order?", "it was late, again!"]
KINDS = {
    "greedy": SamplingParams(temperature=0, max_tokens=24, ignore_eos=True),
    "seeded": SamplingParams(temperature=1.0, seed=5, n=2, max_tokens=24, ignore_eos=True),
    "logprobs": SamplingParams(temperature=0, max_tokens=4, logprobs=2, prompt_logprobs=1),
    "constrained": SamplingParams(temperature=0, max_tokens=8, choices=["fox", "dog", "order"]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny_model("llama3.2", tmp_path_factory.mktemp("model"), tokenizer=True)


@pytest.fixture(autouse=True)
def unloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PAGEDNB_PROGRESS", "0")
    yield
    pagednb.unload()


@pytest.fixture
def llm(folder: pathlib.Path) -> LLM:
    return pagednb.load(folder, device="cpu", max_model_len=96, block_size=8, seed=3)


def answers(llm: LLM) -> list[Any]:
    """What does not depend on the time of the day: tokens, texts, logprobs, and an embedding."""
    outputs = [output for params in KINDS.values() for output in llm.generate(PROMPTS, params)]
    told = [(output.prompt_logprobs, output.outputs) for output in outputs]
    return [*told, llm.embed(PROMPTS[0])[0].outputs]


@pytest.mark.parametrize("options", [{}, {"load_format": "dummy"}], ids=["checkpoint", "dummy"])
def test_it_answers_after_the_sleep_as_before(folder: pathlib.Path, options: dict[str, Any]) -> None:
    with LLM(folder, device="cpu", max_model_len=96, block_size=8, seed=3, **options) as llm:
        before, geometry = answers(llm), llm.engine.geometry
        for level in (1, 2):
            llm.sleep(level)
            assert llm.is_sleeping()
            llm.wake_up()
            assert not llm.is_sleeping()
            assert answers(llm) == before
        assert llm.engine.geometry == geometry
        llm.engine.check_integrity()


def requests() -> dict[str, Callable[[LLM], object]]:
    frame = pd.DataFrame({"text": PROMPTS})
    return {
        "generate": lambda llm: llm.generate(PROMPTS),
        "chat": lambda llm: llm.chat([{"role": "user", "content": "hi"}]),
        "beam_search": lambda llm: llm.beam_search(PROMPTS, BeamSearchParams(beam_width=2, max_tokens=3)),
        "embed": lambda llm: llm.embed(PROMPTS),
        "score": lambda llm: llm.score(PROMPTS[0], PROMPTS[1]),
        "stream": lambda llm: next(llm.engine.stream(PROMPTS[0], KINDS["greedy"])),
        "frame.generate": lambda llm: frame.llm.generate("{text}", max_tokens=3),
        "frame.classify": lambda llm: frame.llm.classify("{text}", labels=["a", "b"]),
        "pnb.chat": lambda llm: pagednb.chat().ask("hi"),
    }


@pytest.mark.parametrize("request_name", requests())
def test_every_request_says_what_to_do(llm: LLM, request_name: str) -> None:
    pagednb.sleep()
    steps = llm.status().num_steps
    with pytest.raises(EngineAsleepError, match=r"asleep\. Call wake_up\(\) or %llm wake first\."):
        requests()[request_name](llm)
    assert llm.status().num_steps == steps
    pagednb.wake_up()
    requests()[request_name](llm)


def test_chats_and_computed_rows_outlive_the_sleep(llm: LLM) -> None:
    frame = pd.DataFrame({"text": PROMPTS})
    chat = pagednb.chat(max_tokens=4)
    chat.ask("hi")
    before = frame.llm.generate("{text}", max_tokens=3)
    pagednb.sleep(2)
    said = chat.messages
    pagednb.wake_up()
    steps = llm.status().num_steps
    assert frame.llm.generate("{text}", max_tokens=3).equals(before)
    assert llm.status().num_steps == steps, "the rows came from the cache in the kernel"
    chat.ask("and now?")
    assert chat.messages[: len(said)] == said


def test_a_frame_that_was_refused_has_no_row_that_failed(llm: LLM) -> None:
    pagednb.sleep()
    with pytest.raises(EngineAsleepError):
        pd.DataFrame({"text": PROMPTS}).llm.generate("{text}", max_tokens=3, errors="coerce")
    assert pagednb.last_run().figures.failed == 0


def test_load_wakes_what_it_finds_asleep(llm: LLM, folder: pathlib.Path) -> None:
    llm.sleep()
    assert pagednb.load(folder, device="cpu", max_model_len=96, block_size=8, seed=3) is llm
    assert not llm.is_sleeping()
    llm.sleep()
    with pytest.raises(OptionError, match="Another engine is loaded"):
        pagednb.load(folder, device="cpu", max_model_len=64)
    assert llm.is_sleeping()
    other = pagednb.load(folder, device="cpu", max_model_len=64, replace=True)
    assert other is not llm and not other.is_sleeping()


def test_without_an_engine_there_is_nobody_to_sleep() -> None:
    for use in (pagednb.sleep, pagednb.wake_up):
        with pytest.raises(EngineNotLoadedError, match=r"pagednb\.load"):
            use()


def test_everything_wakes_up_together(llm: LLM) -> None:
    llm.sleep()
    with pytest.raises(NotSupportedYetError, match=r"tags=\['weights'\].*Leave it out"):
        llm.wake_up(tags=["weights"])
    assert llm.is_sleeping()
    llm.wake_up(tags=["kv_cache", "weights"])
    assert not llm.is_sleeping()


def test_figures_and_bars_of_a_sleeping_engine(
    llm: LLM, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    llm.generate(PROMPTS, KINDS["greedy"])
    awake = llm.status()
    llm.sleep(1)
    asleep = llm.status()
    assert asleep.asleep is not None and asleep.asleep.host_bytes == awake.memory.weight_bytes
    assert asleep.num_finished == awake.num_finished and asleep.tokens_out == awake.tokens_out
    assert (asleep.memory.weight_bytes, asleep.memory.kv_cache_bytes) == (0, 0) < (1, awake.memory.kv_cache_bytes)
    assert {metric.name: metric.value for metric in llm.get_metrics()}["vllm:num_requests_running"] == 0
    pagednb.monitor()
    monkeypatch.setenv("PAGEDNB_PROGRESS", "1")
    monkeypatch.setattr("pagednb.engine.progress.LOAD_DELAY_S", 0.0)
    llm.wake_up()
    assert "Loading weights" in capfd.readouterr().err


def test_the_magics(llm: LLM) -> None:
    with raising_shell() as shell:
        shell.run("%load_ext pagednb")
        try:
            shell.run("%llm sleep")
            assert "asleep, level 1" in repr(shell.run("%llm status"))
            with pytest.raises(EngineAsleepError):
                shell.run("%generate hi")
            assert shell.stdout.strip() == (
                "EngineAsleepError: The engine is asleep. Call wake_up() or %llm wake first."
            )
            shell.run("%llm sleep 2")
            with pytest.raises(OptionError):
                llm.sleep(1)
            assert shell.run("%llm wake") is None
            shell.run("%generate --max-tokens 2 hi")
            shell.run("%llm sleep '2'")
            assert llm.status().asleep is not None
        finally:
            shell.run("%unload_ext pagednb")

"""%generate, %%generate and %llm in a real shell: what reaches the engine, what comes back, how a mistake looks."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.error import UsageError
from support.scripted_engine import ScriptedEngine
from support.shell import RaisingShell

from pagednb import runtime
from pagednb.errors import (
    ContextLengthError,
    EngineNotLoadedError,
    EngineStepError,
    ModelLoadError,
)
from pagednb.models.local_models import LocalModel
from pagednb.notebook.model_list import ModelList
from pagednb.outputs import RequestOutput
from pagednb.sampling_params import SamplingParams


def test_the_line_returns_the_completion_and_shows_nothing(shell: RaisingShell, engine: ScriptedEngine) -> None:
    shell.run("answer = %generate -t 0.5 What's {1: 2}, exactly  as typed")
    assert (shell.outputs, shell.stdout, shell.stderr) == ([], "", "")
    assert isinstance(shell.names["answer"], RequestOutput)
    assert str(shell.names["answer"]) == "one two three"
    assert shell.names["_llm"] is shell.names["answer"]
    assert engine.asked[0][0] == "<user>What's {1: 2}, exactly  as typed<assistant>"


def test_quotes_around_the_whole_prompt_go(shell: RaisingShell, engine: ScriptedEngine) -> None:
    shell.run('x = %generate "Who are you?"')  # without quotes IPython takes the last ? for its own
    assert engine.asked[0][0] == "<user>Who are you?<assistant>"


def test_the_cell_streams_binds_and_returns_nothing(shell: RaisingShell, engine: ScriptedEngine) -> None:
    assert shell.run("%%generate -o answer --max-tokens 9\nHello\nyou\n") is None
    assert engine.asked == [
        ("<user>Hello\nyou<assistant>", SamplingParams(temperature=0.0, max_tokens=9)),
    ]
    shown = shell.outputs[-1].data
    assert (shown["text/markdown"], shown["text/plain"]) == ("one two three", "one two three")
    assert "<p>one two three</p>" in shown["text/html"]
    assert shell.names["answer"] is shell.names["_llm"]
    assert shell.names["_llm"].finished
    assert engine.num_open_streams == 0


def test_every_flag_reaches_the_engine(shell: RaisingShell, engine: ScriptedEngine) -> None:
    shell.run(
        r"%%generate --max-tokens 7 -t 0.5 --top-p 0.9 --top-k 5 --seed 3 --stop '\n' --stop=END -n 2 -s 'Be brief.'"
        "\nHello"
    )
    params = SamplingParams(temperature=0.5, top_p=0.9, top_k=5, seed=3, stop=("\n", "END"), n=2, max_tokens=7)
    assert engine.asked == [("<system>Be brief.<user>Hello<assistant>", params)]


def test_quotes_around_any_value_go(shell: RaisingShell, engine: ScriptedEngine) -> None:
    shell.names["Review"] = {"stars": int}
    shell.run(
        """%%generate --seed "3" -t '0.5' --max-tokens='none' -n "1" --schema 'Review' -f "text" -o 'answer'\nHi"""
    )
    expected = SamplingParams(temperature=0.5, seed=3, max_tokens=None, schema=shell.names["Review"])
    assert engine.asked[0][1].seed == 3 and engine.asked[0][1] == expected
    assert shell.names["answer"].text == "one two three"
    shell.run("%%generate --chat 'the poet'\nHi\n")
    assert list(shell.run("%llm history")) == ["the poet"]
    assert shell.run("%llm history 'the poet'").num_answers == 1


def test_constraints_reach_the_engine(shell: RaisingShell, engine: ScriptedEngine) -> None:
    shell.run("from typing import Literal\nReview = {'topic': Literal['billing', 'other'], 'stars': int}")
    for line in ("--choices 'yes, no'", r"--regex [a-z]+\d", "--schema Review"):
        shell.run(f"%%generate --max-tokens 7 {line}\nHello")
    assert [params.constraint for _, params in engine.asked] == [
        SamplingParams(choices=["yes", "no"]).constraint,
        SamplingParams(regex=r"[a-z]+\d").constraint,
        SamplingParams(schema=shell.names["Review"]).constraint,
    ]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--schema Missing", "there is no such variable"),
        ("--schema number", "schema: 5 is not supported"),
        ("--regex (", "regex cannot be used: unclosed group"),
        ("--regex a --choices b", "choices and regex were given"),
    ],
)
def test_a_mistake_in_a_constraint_is_one_line(shell: RaisingShell, flags: str, sentence: str) -> None:
    shell.run("number = 5")
    with pytest.raises(UsageError, match=re.escape(sentence)):
        shell.run(f"%%generate {flags}\nHello")


def test_what_is_not_asked_for_follows_the_model_and_is_greedy_otherwise(
    shell: RaisingShell, engine: ScriptedEngine
) -> None:
    shell.run("%generate hi")
    engine.resolved.generation_config.update(temperature=0.6, top_k=20)
    shell.run("%generate hi")
    shell.run("%generate --top-k 3 hi")
    assert [params for _, params in engine.asked] == [
        SamplingParams(temperature=0.0, max_tokens=256),
        SamplingParams(temperature=0.6, top_k=20, max_tokens=256),
        SamplingParams(temperature=0.6, top_k=3, max_tokens=256),
    ]


@pytest.mark.parametrize(
    ("flags", "body", "prompt"),
    [
        ("", "Hi {name}", "Hi Ada"),
        ("", "{row.text} {data['a'][1]} {price:.1f}", "late 20 3.1"),
        ("", '{"name": "{name}", "unknown": {unknown}}', '{"name": "Ada", "unknown": {unknown}}'),
        ("", "{text}", "{name} stays"),
        ("", "$name $HOME ~ !ls", "$name $HOME ~ !ls"),
        ("--raw", "Hi {name}", "Hi {name}"),
    ],
)
@pytest.mark.parametrize("is_cell", [True, False])
def test_braces(
    shell: RaisingShell, engine: ScriptedEngine, flags: str, body: str, prompt: str, *, is_cell: bool
) -> None:
    row = SimpleNamespace(text="late")
    shell.names.update(name="Ada", row=row, data={"a": [10, 20]}, price=3.14, text="{name} stays")
    shell.run(f"%%generate {flags}\n{body}" if is_cell else f"%generate {flags} {body}")
    assert engine.asked[0][0] == f"<user>{prompt}<assistant>"


def test_a_model_without_chat_template_gets_the_text_as_it_is(shell: RaisingShell, engine: ScriptedEngine) -> None:
    engine.has_chat_template = False
    shell.run("%%generate\nOnce upon a time")
    assert engine.asked[0][0] == "Once upon a time"
    with pytest.raises(UsageError, match="no chat template, so --system has no place"):
        shell.run("%%generate --system brief\nOnce")


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("%generate --max-tokens many hi", "--max-tokens: needs a whole number or none, not 'many'"),
        ("%generate --max-tokens 0 hi", "max_tokens=0 is not valid"),
        ("%generate --zzz hi", "Choose from --format, -f, --system, -s, --chat, --thinking, -o, --raw, --schema,"),
        ("%generate --max 5 hi", "Unknown flag '--max'."),
        ("%generate --seed 1.5 hi", "--seed: needs a whole number, not '1.5'"),
        ("%generate -t 'hot' hi", "--temperature/-t: needs a number, not"),
        ("%generate -f markdwn hi", "Unknown value 'markdwn'. Did you mean markdown?"),
        ("%generate --thinking yes hi", "Unknown value 'yes'. Choose from on, off, auto."),
        ("%generate --thinking on hi", "no switch for thinking, so --thinking has no place"),
        ("%generate --stop-token-ids 1,x hi", "needs whole numbers with commas between them, not '1,x'"),
        ("%generate --logit-bias 5 hi", "needs pairs like 42:-100,7:2.5, not '5'"),
        ("%generate --logit-bias 5:1000 hi", "logit_bias"),
        ("%generate --chat a -n 2 hi", "A conversation goes on from one answer."),
        ("%generate --logprobs 5 --logprob-token-ids 3 hi", "Give one."),
        ("%generate --max-tokns 5 hi", "Unknown flag '--max-tokns'. Did you mean --max-tokens?"),
        ("%generate --top-p 1.5 hi", "top_p=1.5 is not valid"),
        ("%generate --stop '' hi", "stop="),
        ("%generate -o 'a b' hi", "cannot name a variable"),
        ("%generate -o class hi", "cannot name a variable"),
        ("%generate", "The prompt is empty."),
        ("%%generate\n   \n", "The prompt is empty."),
        ("%%generate hello\nyou", "Unexpected 'hello'"),
        ("%llm", "%llm needs one of load, status, list, unload, cancel, history, reset, sleep, wake."),
        ("%llm statsu", "Unknown %llm command 'statsu'. Did you mean status?"),
        ("%llm quux me", "Unknown %llm command 'quux'. Choose from load, status, list, unload, cancel,"),
        ("%llm sleep 3", "Unknown level '3'. Choose from 1, 2."),
        ("%llm sleep 1 2", "%llm sleep takes nothing more, got '2'."),
        ("%llm wake up", "%llm wake takes nothing more, got 'up'."),
        ("%llm history Ada", "There is no conversation 'Ada'. %%generate --chat Ada begins it."),
        ("%llm reset Ada", "There is no conversation 'Ada'."),
        ("%llm list all", "%llm list takes nothing more, got 'all'."),
        ("%llm load --max-modl-len 5", "Did you mean 'max_model_len'?"),
        ("%llm load --max-model-len five", "--max-model-len needs a whole number"),
        ("%llm load --quantization awq", "quantization"),
        ("%llm status now", "%llm status takes nothing more, got 'now'."),
        ("%llm unload all", "%llm unload takes nothing more"),
    ],
)
@pytest.mark.usefixtures("engine")
def test_a_mistake_in_the_line_is_one_line(shell: RaisingShell, cell: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        shell.run(cell)
    assert sentence in str(caught.value)
    assert shell.stderr.startswith("UsageError: ")
    assert shell.stderr.count("\n") == 1
    assert shell.stdout == ""


@pytest.mark.parametrize("cell", ["%generate hi", "%%generate\nhi"])
def test_without_an_engine_the_next_step_is_named(shell: RaisingShell, cell: str) -> None:
    with pytest.raises(EngineNotLoadedError, match="load"):
        shell.run(cell)
    assert shell.stdout.strip().splitlines() == [shell.stdout.strip()]
    assert shell.stdout.startswith("EngineNotLoadedError: ")


@pytest.mark.parametrize("cell", ["%generate hi", "%%generate\nhi"])
def test_faults_keep_their_type_and_only_those_of_the_engine_their_traceback(
    shell: RaisingShell, engine: ScriptedEngine, cell: str
) -> None:
    engine.fault = ContextLengthError("The prompt has 9 tokens.", hint="Shorten it.")
    with pytest.raises(ContextLengthError):
        shell.run(cell)
    assert shell.stdout.strip() == "ContextLengthError: The prompt has 9 tokens. Shorten it."
    engine.fault = EngineStepError("A step failed.")
    with pytest.raises(EngineStepError):
        shell.run(cell)
    assert "Traceback" in shell.stdout


def test_an_interrupt_passes_through_and_closes_the_stream(shell: RaisingShell, engine: ScriptedEngine) -> None:
    shell.run("_llm = 'before'")
    engine.fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        shell.run("%%generate -o answer\nhi")
    assert shell.outputs[-1].data["text/plain"] == "one two\n[■ interrupted]"
    assert shell.stdout.strip() == "KeyboardInterrupt: the text so far is kept."
    assert engine.num_open_streams == 0
    assert "answer" not in shell.names
    assert shell.names["_llm"] == "before"


def test_an_interrupt_of_a_line_is_one_line(shell: RaisingShell, engine: ScriptedEngine) -> None:
    engine.fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        shell.run("%generate hi")
    assert shell.stdout.strip() == "KeyboardInterrupt: stopped."


@pytest.mark.parametrize(("is_asleep", "state"), [(False, "loaded"), (True, "asleep")])
def test_the_list_says_what_the_loaded_model_does(is_asleep: bool, state: str) -> None:
    models = (LocalModel("one/model", "LlamaForCausalLM", 2**20), LocalModel("other", "LlamaForCausalLM", 2**20))
    lines = repr(ModelList(models, "one/model", is_asleep)).splitlines()
    assert [line.endswith(state) for line in lines] == [False, True, False]


def test_llm_delegates_to_the_runtime(shell: RaisingShell, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(runtime, "load", lambda model=None, **options: calls.append((model, options)))
    monkeypatch.setattr(runtime, "status", lambda: "busy")
    monkeypatch.setattr(runtime, "unload", lambda: calls.append("unload"))
    assert shell.run("%llm load") is None
    assert shell.run("%llm load 'some folder/model' --max-model-len 64 --device cpu") is None
    assert shell.run("%llm status") == "busy"
    assert shell.run("%llm unload") is None
    assert calls == [(None, {}), ("some folder/model", {"max_model_len": 64, "device": "cpu"}), "unload"]


def test_a_folder_that_is_missing_is_one_line(shell: RaisingShell) -> None:
    with pytest.raises(ModelLoadError):
        shell.run("%llm load /no/such/folder --device cpu")
    assert shell.stdout.strip().splitlines() == [shell.stdout.strip()]
    assert shell.stdout.startswith("ModelLoadError: ")


def test_help_tells_the_flags(shell: RaisingShell) -> None:
    pages: list[str] = []
    shell.shell.set_hook("show_in_pager", lambda _, data, **kwargs: pages.append(data["text/plain"]), priority=0)
    shell.run("%generate?")
    shell.run("%llm?")
    assert "--max-tokens" in pages[0] and "--system" in pages[0]
    assert "%llm load" in pages[1]

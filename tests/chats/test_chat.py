"""``pagednb.chat`` from Python: what it takes, what it gives, and what stays of it."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import re
from typing import Any

import pandas as pd
import pytest
from support.streaming_engine import StreamingEngine

import pagednb as pnb
from pagednb import runtime
from pagednb.errors import EngineNotLoadedError, EngineStepError, OptionError, PromptError


@pytest.fixture(autouse=True)
def new_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime._RUNTIME, "name_to_kept", {})


def test_a_conversation(engine: StreamingEngine) -> None:
    chat = pnb.chat(system="Be brief.", temperature=0)
    answer = chat.ask("Hello", max_tokens=9)
    assert str(answer) == "one two three" == answer._repr_mimebundle_()["text/markdown"]
    assert chat.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "one two three"},
    ]
    assert engine.asked[0][1].max_tokens == 9
    assert repr(chat).startswith("<pagednb chat: 2 turns")


def test_it_goes_on_from_openai_messages(engine: StreamingEngine) -> None:
    first = pnb.chat(system="Be brief.")
    first.ask("Hello")
    second = pnb.chat(messages=first.messages)
    assert second.messages == first.messages
    second.ask("More")
    assert engine.asked[-1][0].startswith("<system>Be brief.<user>Hello<assistant>one two three<user>More")


@pytest.mark.parametrize(
    "messages",
    [
        ["hello"],
        [{"role": "user"}],
        [{"role": "tool", "content": ""}],
        [{"role": ["user"], "content": "a"}],
        [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
    ],
)
def test_messages_that_are_none_are_refused(messages: Any) -> None:
    with pytest.raises(PromptError, match=r"[Mm]essage"):
        pnb.chat(messages=messages)


def test_half_a_character_reaches_neither_model_nor_page(engine: StreamingEngine) -> None:
    """A browser that cuts an emoji sends half of it, which no message can hold."""
    chat = pnb.chat()
    chat.ask("Hi \ud83c")
    assert chat.turns[0].text == "Hi \N{REPLACEMENT CHARACTER}"
    with pytest.raises(PromptError, match="message 0 is not valid Unicode"):
        pnb.chat(messages=[{"role": "user", "content": "\ud83c"}])


def test_branches_from_python(engine: StreamingEngine) -> None:
    chat = pnb.chat()
    chat.ask("Hello")
    engine.answer = "another"
    assert chat.regenerate().text == "another"
    assert [turn.text for turn in chat.branches()] == ["one two three", "another"]
    chat.choose(-1, 0)
    assert chat.turns[-1].text == "one two three"
    assert chat.edit(0, "Good day").text == "another"
    assert chat.edit(-1, "my words").is_edited
    assert [turn.text for turn in chat.turns] == ["Good day", "my words"]
    chat.undo()
    chat.undo()
    assert [turn.text for turn in chat.turns] == ["Hello", "one two three"]
    chat.clear()
    assert chat.messages == []
    for call in (chat.regenerate, lambda: chat.choose(0, 0), lambda: chat.edit(3, "x"), lambda: chat.branches(True)):
        with pytest.raises(OptionError):
            call()


def test_without_a_model_nothing_is_said() -> None:
    chat = pnb.chat()
    for call in (lambda: chat.ask("Hello"), lambda: asyncio.run(chat.aask("Hello"))):
        with pytest.raises(EngineNotLoadedError, match=re.escape("Call pagednb.load()")):
            call()
    assert chat.turns == ()


def test_awaited(engine: StreamingEngine) -> None:
    chats = [pnb.chat() for _ in range(3)]

    async def ask_all() -> list[str]:
        return [turn.text for turn in await asyncio.gather(*(chat.aask("Hello") for chat in chats))]

    assert asyncio.run(ask_all()) == ["one two three"] * 3


def test_a_named_chat_is_kept(engine: StreamingEngine) -> None:
    chat = pnb.chat(name="help", system="a")
    chat.ask("Hello")
    again = pnb.chat(name="help", system="b", temperature=0.1, messages=[{"role": "user", "content": "not now"}])
    assert again is chat and len(chat.turns) == 2
    assert (chat.options.system, dict(chat.options.sampling)) == ("b", {"temperature": 0.1})
    assert pnb.chat(name="other") is not chat and pnb.chat() is not pnb.chat()
    chat.clear()
    assert pnb.chat(name="help", messages=[{"role": "user", "content": "now"}]).turns[0].text == "now"


def test_options_change_as_a_whole_or_not_at_all(engine: StreamingEngine) -> None:
    chat = pnb.chat(temperature=0.5)
    with pytest.raises(OptionError):
        chat.set_options(top_p=0.9, temperature=-1)
    assert dict(chat.options.sampling) == {"temperature": 0.5}
    chat.set_options(temperature=None, top_p=0.9, system="x")
    assert (chat.options.system, dict(chat.options.sampling)) == ("x", {"top_p": 0.9})


def test_a_frame_of_turns(engine: StreamingEngine) -> None:
    chat = pnb.chat()
    assert list(chat.to_frame().columns)[:3] == ["turn", "role", "text"] and chat.to_frame().empty
    chat.ask("Hello")
    chat.regenerate()
    frame = chat.to_frame()
    assert frame["role"].tolist() == ["user", "assistant"]
    assert frame["text"].tolist() == ["Hello", "one two three"]
    assert frame["branch"].tolist() == [1, 2] and frame["branches"].tolist() == [1, 2]
    assert pd.isna(frame["new_tokens"][0]) and frame["new_tokens"][1] == 3
    assert frame.dtypes.astype(str)[["new_tokens", "duration_s"]].tolist() == ["Int64", "Float64"]
    assert chat.to_frame(branches=True)["text"].tolist() == ["Hello", "one two three", "one two three"]


def test_a_chat_on_disk(engine: StreamingEngine, tmp_path: pathlib.Path) -> None:
    chat = pnb.chat(system="a", top_p=0.5)
    chat.ask("Hello")
    chat.regenerate()
    chat.save(tmp_path / "deep" / "chat.jsonl")
    other = pnb.chat()
    other.ask("something else")
    assert other.load(tmp_path / "deep" / "chat.jsonl") is other
    assert other.messages == chat.messages and other.options == chat.options
    assert len(other.branches()) == 2
    other.ask("More")
    assert len({turn.turn_id for turn in other.turns}) == 4
    other.undo()
    other.undo()
    assert other.turns[0].text == "something else"


def test_what_is_frozen_survives_without_a_kernel(engine: StreamingEngine) -> None:
    chat = pnb.chat(system="Be <brief>.")
    engine.answer = "<think>hm **hm**</think>**yes** <script>alert(1)</script>\n\n```python\nx = 1"
    chat.ask("Is <b>this</b>\nquoted?")
    frozen = chat.freeze()
    chat.clear()
    html, markdown = frozen._repr_html_(), frozen._repr_markdown_()
    assert "<strong>yes</strong>" in html and "&lt;b&gt;this&lt;/b&gt;" in html and "Be &lt;brief&gt;." in html
    assert "<script" not in html and "Thought 0.0 s," in html
    assert "> Is <b>this</b>\n> quoted?" in markdown and "**System**\n\n> Be <brief>." in markdown
    assert markdown.endswith("x = 1\n```"), "an open fence would take in what follows"
    assert "You: Is" in repr(frozen)
    assert "mathjax_ignore" in html, "a price is no formula, and a macro must not run"


def test_a_turn_below_a_cell_is_drawn_safely(engine: StreamingEngine) -> None:
    engine.answer = "**yes** <script>alert(1)</script>\n\n```python\nx = 1"
    answer = pnb.chat().ask("Is <b>this</b>\nquoted?")
    shown = answer._repr_mimebundle_()
    assert "<strong>yes</strong>" in shown["text/html"] and "<script" not in shown["text/html"]
    assert "<style>" in shown["text/html"], "code has its colours"
    assert shown["text/markdown"].endswith("x = 1\n```") and shown["text/plain"] == answer.text
    question = dataclasses.replace(answer, role="user", text="Is <b>this</b>\nquoted?")
    assert "&lt;b&gt;this&lt;/b&gt;\nquoted?" in question._repr_mimebundle_()["text/html"]


def test_faults_and_stops_are_told_in_the_transcript(engine: StreamingEngine) -> None:
    engine.is_held = True
    engine.let_go("half", EngineStepError("The step <failed>."))
    chat = pnb.chat()
    with pytest.raises(EngineStepError):
        chat.ask("Hello")
    assert chat.to_markdown().endswith("half\n\n*The step <failed>.*")
    assert "The step &lt;failed&gt;." in chat.freeze()._repr_html_()


def test_an_empty_chat_can_be_shown_everywhere() -> None:
    chat = pnb.chat()
    assert (chat.to_markdown(), repr(chat.freeze())) == ("", "(nothing was said yet)")
    assert "nothing was said yet" in chat.freeze()._repr_html_()
    assert not chat.stop()
    data, _ = chat._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data and data["text/plain"] == repr(chat)
    assert chat.widget is chat.widget

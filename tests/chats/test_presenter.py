"""What goes to browsers: a view that takes in every message shows what a new view would, and little is sent."""

from __future__ import annotations

import itertools
import random
import threading
import time
from typing import Any

import pytest
from support.chat_mirror import ChatMirror
from support.streaming_engine import StreamingEngine

from pagednb.chats import generation
from pagednb.chats.chat_options import ChatOptions
from pagednb.chats.presenter import ChatPresenter
from pagednb.chats.session import ChatSession
from pagednb.rendering.markdown import render_markdown

MARKDOWN = "A **list**:\n\n- one\n- two\n\n```python\nprint(1)\nprint(2)\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"


class Shown:
    """A chat with one view."""

    def __init__(self, **options: Any) -> None:
        self.session = ChatSession(ChatOptions().updated(options))
        self.presenter = ChatPresenter(self.session, name="test")
        self.view = ChatMirror(self.presenter.state())
        self.presenter.connect(self.view.receive)

    def press(self, kind: str, **fields: Any) -> None:
        self.presenter.handle({"type": kind, **fields})

    def ask(self, text: str) -> None:
        self.press("ask", text=text)
        self.wait()

    def wait(self) -> None:
        deadline_s = time.monotonic() + 20
        while self.view.head["is_busy"]:
            assert time.monotonic() < deadline_s
            time.sleep(0.002)

    def check(self) -> None:
        """The view shows what a new one would."""
        new = ChatMirror(self.presenter.state())
        assert new.seq == self.view.seq
        assert [settled(turn.meta) for turn in new.turns] == [settled(turn.meta) for turn in self.view.turns]
        assert [turn.html for turn in new.turns] == [turn.html for turn in self.view.turns]
        assert {name: new.head[name] for name in ("is_busy", "can_undo", "options")} == {
            name: self.view.head[name] for name in ("is_busy", "can_undo", "options")
        }


def settled(turn: dict[str, Any]) -> dict[str, Any]:
    """What a view knows of a turn; the markdown of an answer comes with its end."""
    return {**turn, "text": None} if turn["state"] == "streaming" else turn


@pytest.fixture(autouse=True)
def fast_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "REPORTS_PER_S", 10_000)


def test_an_answer_arrives_in_patches(engine: StreamingEngine) -> None:
    engine.answer = f"<think>first\n\nsecond</think>{MARKDOWN}"
    shown = Shown()
    shown.ask("Hello")
    shown.check()
    answer = shown.view.turns[-1]
    assert answer.html == {"thinking": render_markdown("first\n\nsecond"), "answer": render_markdown(MARKDOWN)}
    assert answer.meta["figures"]["num_thinking_tokens"] > 0
    kinds = [message["type"] for message in shown.view.messages]
    assert kinds[0] == "turns" and kinds[-1] == "turn" and kinds.count("patch") > 3


def test_random_presses_keep_every_view_in_step(engine: StreamingEngine) -> None:
    for seed in range(8):
        randomness = random.Random(seed)
        engine.answer = MARKDOWN
        shown = Shown()
        for number in range(25):
            turns = [turn.meta["id"] for turn in shown.view.turns]
            action = randomness.choice(["ask", "regenerate", "edit", "choose", "undo", "clear", "stop", "options"])
            fields: dict[str, Any] = {}
            if action in ("regenerate", "edit", "choose"):
                fields["turn"] = randomness.choice([*turns, "t1"])
            if action in ("ask", "edit"):
                fields["text"] = f"question {number} <b>"
            if action == "options":
                fields["options"] = {"temperature": randomness.choice([None, 0.5, -1])}
            shown.press(action, **fields)
            if randomness.random() < 0.7:
                shown.wait()
                shown.check()
        shown.wait()
        shown.check()


def test_a_view_that_comes_in_midway_shows_what_the_others_show(engine: StreamingEngine) -> None:
    engine.is_held = True
    shown = Shown()
    shown.press("ask", text="Hello")
    for piece in ("Some **te", "xt** and\n\n```py", "thon\nx = 1", "\ny = 2"):
        engine.let_go(piece)
        time.sleep(0.03)
        shown.check()
    late = ChatMirror(shown.presenter.state())
    shown.presenter.connect(lambda message: (shown.view.receive(message), late.receive(message)))
    engine.let_go("\n```\ndone", is_last=True)
    shown.wait()
    assert late.turns[-1].html == shown.view.turns[-1].html
    assert "done" in late.turns[-1].html["answer"]


def test_a_refusal_is_a_notice_and_changes_nothing(engine: StreamingEngine) -> None:
    shown = Shown()
    shown.press("ask", text="  ")
    shown.press("regenerate", turn="t99")
    shown.press("options", options={"temperature": -1})
    shown.press("ask")
    shown.press("dance")
    assert len(shown.view.notices) == 5 and "temperature" in shown.view.notices[2]
    assert shown.view.turns == []
    shown.check()


def test_undo_brings_the_question_back_to_the_composer(engine: StreamingEngine) -> None:
    shown = Shown()
    shown.ask("Hello")
    shown.press("undo")
    assert shown.view.drafts == ["Hello"] and shown.view.turns == []


def test_no_model_is_said_in_the_turn() -> None:
    shown = Shown()
    assert shown.presenter.state()["model"] is None
    shown.ask("Hello")
    assert shown.view.turns[-1].meta["error"].startswith("No model is loaded.")
    shown.check()


def test_bytes_are_linear_in_the_answer(engine: StreamingEngine) -> None:
    engine.is_held = True
    sizes = []
    for num_pieces in (100, 200, 400):
        shown = Shown()
        shown.press("ask", text="Hello")
        for number in range(num_pieces):
            before = len(shown.view.messages)
            engine.let_go(f"word{number} in a long paragraph that goes on. ")
            while len(shown.view.messages) == before:
                time.sleep(0.001)
        engine.let_go(is_last=True)
        shown.wait()
        shown.check()
        sizes.append(shown.view.num_bytes)
    assert sizes[2] - sizes[1] < 2.5 * (sizes[1] - sizes[0])
    text = len(render_markdown(shown.view.texts[-1]))
    per_message = 260  # names, counts, and the figures that change with every token
    patches = [message for message in shown.view.messages if message["type"] == "patch"]
    assert sizes[2] < 2 * (4 * text + per_message * len(patches)) + 2_000


def test_messages_are_rationed(engine: StreamingEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "REPORTS_PER_S", 10)
    engine.is_held = True
    shown = Shown()
    times: list[float] = []
    shown.presenter.connect(lambda message: times.append(time.monotonic()) or shown.view.receive(message))
    shown.press("ask", text="Hello")
    stop = threading.Event()

    def feed() -> None:
        for number in itertools.count():
            if stop.wait(0.004):
                break
            engine.let_go(f"word{number}\n\n")
        engine.let_go(is_last=True)

    thread = threading.Thread(target=feed)
    thread.start()
    time.sleep(2.2)
    stop.set()
    thread.join()
    shown.wait()
    assert max(sum(start <= other < start + 1 for other in times) for start in times) <= 15
    shown.check()


def test_handlers_return_while_the_engine_waits(engine: StreamingEngine) -> None:
    engine.is_held = True
    shown = Shown()
    shown.press("ask", text="Hello")
    shown.press("stop")
    assert not shown.view.head["is_busy"] and shown.view.turns[-1].meta["state"] == "stopped"
    shown.check()

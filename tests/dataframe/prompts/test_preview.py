"""``preview``: prompts as they would be sent, and nothing sent."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from support.fake_engine import FakeEngine

from pagednb import runtime
from pagednb.dataframe.accessor import frame
from pagednb.errors import NotSupportedYetError, OptionError, TemplateError

DATA = pd.DataFrame({"text": ["late <b>", "no login", None, "late <b>", "x" * 3000, " "], "n": range(6)})


def test_counts_and_prompts(engine: FakeEngine) -> None:
    engine.has_chat_template = True
    look = frame(DATA).preview("Route: {text}", n=2, system="Be brief.")
    seen = "<system>Be brief.<user>Route: late <b><assistant>"
    assert look.prompts[0].prompt == seen and look.prompts[0].tokens == len(seen)
    assert look.frame.columns.tolist() == ["row", "prompt", "tokens", "note"] and len(look.frame) == 2
    assert (look.num_rows, look.num_missing, look.num_distinct, look.num_too_long) == (6, 1, 4, 1)
    assert look.max_tokens == len(seen) - len("late <b>") + 3000
    assert engine.calls == []


def test_it_shows_exactly_what_a_run_sends(engine: FakeEngine) -> None:
    engine.has_chat_template = True
    sent: list[str] = []
    engine.answer = lambda prompt: sent.append(prompt) or "ok"  # type: ignore[func-returns-value]
    options: dict[str, Any] = {"truncate": "middle", "system": "S", "max_tokens": 100}
    look = frame(DATA).preview("{n}: {text}", n=10, **options)
    frame(DATA).generate("{n}: {text}", **options)
    assert sorted(sent) == sorted(look.frame["prompt"])
    assert [len(prompt.encode()) for prompt in look.frame["prompt"]] == look.frame["tokens"].tolist()
    assert look.frame["note"].str.startswith("cut").tolist() == [False, False, False, True, False]
    assert look.max_tokens <= 1900 and look.num_too_long == 1


def test_it_shows_what_extract_sends(engine: FakeEngine) -> None:
    sent: list[str] = []
    engine.answer = lambda prompt: sent.append(prompt) or '{"brand":"x"}'  # type: ignore[func-returns-value]
    look = frame(DATA[:2]).preview("{text}", schema={"brand": str})
    frame(DATA[:2]).extract("{text}", schema={"brand": str})
    assert "brand" in look.prompts[0].prompt and sorted(sent) == sorted(look.frame["prompt"])


def test_it_shows_what_classify_sends(engine: FakeEngine) -> None:
    engine.has_chat_template = True
    labels = {"billing": "money", "other": None}
    options: dict[str, Any] = {"labels": labels, "system": "S", "truncate": "left"}
    look = frame(DATA[:5]).preview("{text}!", n=9, **options)
    assert "- billing: money\n- other\n\nlate <b>!" in look.prompts[0].prompt
    frame(DATA[:5]).classify("{text}!", **options)
    sent = [bytes(prompt).decode() for call in engine.calls for prompt in call.prompts]
    assert sorted(sent) == sorted(set(look.frame["prompt"]))


def test_it_shows_examples_as_classify_sends_them(engine: FakeEngine) -> None:
    engine.has_chat_template = True
    examples = pd.DataFrame({"text": ["paid twice"], "team": ["billing"]})
    options: dict[str, Any] = {"labels": ["billing", "other"], "examples": examples, "into": "team", "probs": True}
    look = frame(DATA[:2]).preview("text", **options)
    frame(DATA[:2]).classify("text", **options)
    sent = [bytes(prompt).decode() for call in engine.calls for prompt in call.prompts]
    assert "paid twice" in look.prompts[0].prompt and sorted(sent) == sorted(look.frame["prompt"])


@pytest.mark.parametrize("answers", [{"scale": (1, 5)}, {"choices": {"bad": 0, "good": 1}}, {"choices": [1, 3]}])
def test_it_shows_what_score_sends(engine: FakeEngine, answers: dict[str, Any]) -> None:
    look = frame(DATA[:2]).preview("text", probs=False, **answers)
    frame(DATA[:2]).score("text", probs=False, **answers)
    sent = [bytes(prompt).decode() for call in engine.calls for prompt in call.prompts]
    assert sorted(sent) == sorted(look.frame["prompt"])


def test_it_shows_what_embed_sends(engine: FakeEngine) -> None:
    engine.has_chat_template = engine.reads_plain_texts = True
    look = frame(DATA[:2]).preview("text", pooling="mean", normalize=False)
    frame(DATA[:2]).embed("text", pooling="mean", normalize=False)
    sent = [bytes(prompt).decode() for call in engine.calls for prompt in call.prompts]
    assert sorted(sent) == sorted(look.frame["prompt"]) == sorted(DATA["text"][:2])
    for wrong in ({"pooling": "max"}, {"pooling": "cls", "system": "x"}, {"pooling": "cls", "labels": ["a", "b"]}):
        with pytest.raises(OptionError):
            frame(DATA).preview("text", **wrong)


def test_it_takes_the_options_of_the_verb(engine: FakeEngine) -> None:
    plain = frame(DATA).preview("text")
    options: dict[str, Any] = {"temperature": 0.5, "choices": ["a", "b"], "errors": "raise", "cache": False}
    assert frame(DATA).preview("text", **options) == plain
    with pytest.raises(OptionError, match="Did you mean 'temperature'"):
        frame(DATA).preview("text", temprature=0.5)
    with pytest.raises(OptionError, match="preview of classify"):
        frame(DATA).preview("text", labels=["a", "b"], temperature=0.5)
    with pytest.raises(OptionError, match="options of classify and score"):
        frame(DATA).preview("text", labels=["a", "b"], scale=(1, 2))
    with pytest.raises(OptionError, match="options of classify"):
        frame(DATA).preview("text", scale=(1, 2), examples=DATA)
    with pytest.raises(NotSupportedYetError, match="multi=True"):
        frame(DATA).preview("text", labels=["a", "b"], multi=True)


def test_rows_that_would_fail_say_so(engine: FakeEngine) -> None:
    look = frame(DATA).preview("text", n=6)
    notes = dict(zip(look.frame["row"], look.frame["note"], strict=True))
    assert notes[4] == "fails: at most 1,999 tokens fit" and notes[5] == "fails: The prompt is empty."
    assert look.num_failing == 1 and "1 prompts fail" in repr(look)


def test_time_is_known_after_a_run_with_this_model(engine: FakeEngine) -> None:
    first = frame(DATA).preview("text")
    assert first.estimated_s is None and "not known yet" in repr(first)
    frame(DATA["n"]).generate()
    speed = runtime.kept("measured_speed.generate", lambda: None)
    look = frame(DATA).preview("{n}", max_tokens=1)
    assert look.estimated_s == pytest.approx(6 * 2 / speed.tokens_per_s)  # a digit in, a digit out
    assert "about" in repr(look)
    assert frame(DATA).preview("{n}", labels=["a", "b"]).estimated_s is None  # a verb of another speed
    engine.resolved.identity = "another"
    assert frame(DATA).preview("text").estimated_s is None


def test_a_large_frame_is_counted_in_part(engine: FakeEngine) -> None:
    look = frame(pd.Series(range(10_000))).preview("{:05d}", n=0)
    assert look.num_distinct == 10_000 and look.num_counted == 3334 and look.mean_tokens == 5
    assert "of 3,334 that were counted" in repr(look)


def test_html_is_escaped_and_follows_the_theme(engine: FakeEngine) -> None:
    html = frame(DATA).preview("text")._repr_html_()
    assert "late &lt;b&gt;" in html and "<b>" not in html and "color" not in html


def test_empty_and_odd_rows(engine: FakeEngine) -> None:
    assert frame(DATA.iloc[:0]).preview("text").mean_tokens == 0
    look = frame(pd.Series(["a\ud800", "b"], dtype=object)).preview()
    assert look.prompts[0].note.startswith("fails: The text is not valid Unicode") and not look.prompts[1].note
    assert (look.num_failing, look.num_distinct, look.num_counted) == (1, 1, 1)
    assert "a\ufffd" in repr(look) and look._repr_html_().encode() and look.frame.shape == (2, 4)


def test_mistakes_end_as_sentences(engine: FakeEngine) -> None:
    with pytest.raises(TemplateError):
        frame(DATA).preview("{txt}")
    wrong = [{"n": -1}, {"n": "3"}, {"n": True}, {"max_tokens": 0}, {"max_tokens": "4"}]
    wrong += [{"labels": ["a"]}, {"labels": "ab"}, {"labels": ["a", "b"], "schema": {"a": int}}]
    for options in (*wrong, {"truncate": "up"}, {"system": "no template here"}, {"system": 3}):
        with pytest.raises(OptionError):
            frame(DATA).preview("text", **options)


def test_prompts_stand_flush_left_with_their_breaks_and_notes_where_there_are_any(engine: FakeEngine) -> None:
    html = frame(pd.Series(["a\nb"])).preview()._repr_html_()
    assert "mathjax_ignore" in html, "a front end would make formulas of prices"
    assert 'white-space:pre-wrap">a\nb</td>' in html and "text-align:left;vertical-align:top;white" in html
    assert 'pre-wrap">prompt</th>' in html and ">note</th>" not in html
    engine.resolved.max_model_len = engine.geometry.max_model_len = 10
    assert "fails: at most 9 tokens fit</td>" in frame(pd.Series(["a" * 20])).preview()._repr_html_()

"""``classify`` and ``filter``: what it costs, what is asked and what comes back."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.fake_engine import FakeEngine
from support.tickets import LABELS, TICKETS, WORDS, prompts_of, share
from support.tiny_models import tiny_tokenizer

from pagednb import runtime
from pagednb.dataframe.accessor import frame
from pagednb.dataframe.labels.tokens import LabelTokenizer
from pagednb.dataframe.run.task import EncodedPrompt
from pagednb.engine.tokenization import TextCodec
from pagednb.errors import OptionError

# --- what it costs


def test_a_row_is_one_request_of_one_token_where_first_tokens_differ(engine: FakeEngine) -> None:
    frame(TICKETS).classify("text", labels=LABELS)
    [call] = engine.calls
    assert len(call.submitted) == 2  # one is missing, one a duplicate
    for _, params in call.submitted:
        assert params.max_tokens == 1
        assert params.logprob_token_ids == tuple(label.encode()[0] for label in LABELS)


def test_other_requests_of_a_row_wait_for_its_first(engine: FakeEngine) -> None:
    engine.max_per_poll = 1
    frame(TICKETS).classify("text", labels=["ab", "abc", "b", "a"])
    [call] = engine.calls
    keys = [key for key, _ in call.submitted]
    of_first_row = [prompt for (position, _), prompt in zip(keys, call.prompts, strict=True) if position == 0]
    start = of_first_row[0]
    assert [bytes(prompt[len(start) :]) for prompt in of_first_row] == [b"", b"a", b"ab"]
    assert keys.index((0, 1)) > 1


def test_many_ways_go_into_several_requests(engine: FakeEngine) -> None:
    labels = [chr(0x20 + number) for number in range(1, 94)]
    result = frame(TICKETS.iloc[:1]).classify("text", labels=labels, probs=True)
    assert [len(params.logprob_token_ids) for _, params in engine.calls[0].submitted] == [64, 29]
    words = "Answer with one of these labels:\n" + "".join(f"- {label}\n" for label in labels) + "\n"
    np.testing.assert_allclose(list(result["label_probs"].iloc[0].values()), share(words + "late", labels))


def test_the_end_of_a_chat_prompt_is_tokenised_once_for_all_rows(tmp_path: pathlib.Path) -> None:
    codec = TextCodec(tiny_tokenizer(tmp_path))
    num_encoded = []

    class Engine:
        has_chat_template = True
        added_tokens = codec.added_tokens
        resolved = FakeEngine().resolved

        def encode(self, texts: list[str], *, add_special_tokens: bool) -> list[np.ndarray]:
            num_encoded.append(len(texts))
            return codec.encode(texts, add_special_tokens=add_special_tokens)

    tokenizer = LabelTokenizer(Engine(), ["the fox", "dog"])  # type: ignore[arg-type]
    for number in range(50):
        text = codec.render_chat([{"role": "user", "content": f"order {'x' * number}"}])
        [token_ids] = codec.encode([text], add_special_tokens=False)
        assert tokenizer.label(EncodedPrompt(text, token_ids)).token_ids is token_ids
    assert num_encoded == [3]


# --- what is asked


def test_labels_and_descriptions_stand_before_the_template(engine: FakeEngine) -> None:
    frame(TICKETS.iloc[:1]).classify("Ticket: {text}\nTeam: ", labels={"billing": "money", "other": None})
    assert prompts_of(engine) == [
        "Answer with one of these labels:\n- billing: money\n- other\n\nTicket: late\nTeam: ",
    ]


def test_examples_come_first(engine: FakeEngine) -> None:
    examples = TICKETS.iloc[:2].rename(columns={"gold": "label"})
    result = frame(TICKETS.iloc[:1]).classify("{text} = ", labels=LABELS, examples=examples)
    assert prompts_of(engine) == [f"{WORDS}late = other\n\nbroken = tech\n\nlate = "]
    assert result.attrs["pagednb"]["options"] is None
    values = examples.rename(columns={"text": "value"})
    frame(TICKETS["text"].iloc[:1]).classify("{} = ", labels=LABELS, examples=values)
    assert len(set(prompts_of(engine))) == 1


def test_a_chat_model_sees_examples_as_turns_and_does_not_think(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine(has_chat_template=True)
    monkeypatch.setattr(runtime, "get_engine", lambda: engine)
    seen: list[Any] = []
    render = engine.render_chat
    engine.render_chat = lambda messages, **options: (seen.append((messages, options)), render(messages))[1]  # type: ignore[method-assign]
    examples = TICKETS.iloc[1:2].rename(columns={"gold": "label"})
    frame(TICKETS.iloc[:1]).classify("text", labels=LABELS, examples=examples, system="Be fair.", progress=False)
    assert seen[0][0][-1]["content"] == ""  # whether all this leaves room for a row
    contents = [("system", "Be fair."), ("user", f"{WORDS}broken"), ("assistant", "tech"), ("user", "late")]
    assert seen[1:] == [([{"role": role, "content": text} for role, text in contents], {"enable_thinking": False})]


def test_multi_asks_about_each_label(engine: FakeEngine) -> None:
    labels = {"billing": "money", "tech": None}
    result = frame(TICKETS).classify("text", labels=labels, multi=True, probs=True)
    questions = [f'late\n\nDoes the label "{label}" apply? Answer yes or no.\n' for label in ("billing", "tech")]
    questions[0] = questions[0].replace('"billing"', '"billing" (money)')
    assert prompts_of(engine)[0] == questions[0] and questions[1] in prompts_of(engine)
    answers = ["yes", "Yes", "no", "No"]
    yes = [share(question, answers)[:2].sum() for question in questions]
    np.testing.assert_allclose(list(result["label_probs"].iloc[0].values()), yes)
    assert result["label"].iloc[0] == [label for label, p in zip(labels, yes, strict=True) if p >= 0.5]
    assert result["label_confidence"].iloc[0] == np.float32(np.prod(np.maximum(yes, 1 - np.array(yes))))
    assert result["label"].iloc[2] is None and result["label"].iloc[3] == result["label"].iloc[0]


def test_calibration_divides_by_answers_without_content(engine: FakeEngine) -> None:
    result = frame(TICKETS).classify("<{text}>", labels=LABELS, calibrate="contextual", probs=True)
    prior = np.mean([share(f"{WORDS}<{text}>", LABELS) for text in ("N/A", "[MASK]", "")], axis=0)
    expected = share(f"{WORDS}<late>", LABELS) / prior
    np.testing.assert_allclose(list(result["label_probs"].iloc[0].values()), expected / expected.sum())
    assert result.attrs["pagednb"]["computed"] == 2
    engine.abort_share = 1.0
    with pytest.raises(OptionError, match="cannot be calibrated"):
        frame(TICKETS).classify("<<{text}>>", labels=LABELS, calibrate="contextual")


# --- what comes back


def test_rows_below_min_confidence_have_no_label_and_a_reason(engine: FakeEngine) -> None:
    sure = frame(TICKETS).classify("text", labels=LABELS)
    limit = float(sure["label_confidence"].max()) - 1e-6
    result = frame(TICKETS).classify("text", labels=LABELS, min_confidence=limit, errors="raise")
    is_unsure = (sure["label_confidence"] < limit).to_numpy()
    assert is_unsure.sum() in (1, 2)
    assert result["label"].isna().tolist() == (is_unsure | sure["label"].isna().to_numpy()).tolist()
    assert result["label_error"].notna().tolist() == is_unsure.tolist()
    assert result["label_error"].dropna().str.contains("below min_confidence=").all()
    assert result["label_confidence"].equals(sure["label_confidence"])
    assert result.attrs["pagednb"]["failed"] == 0
    assert result["label"].cat.categories.tolist() == LABELS


def test_columns_can_be_left_out_and_a_series_has_the_same(engine: FakeEngine) -> None:
    result = frame(TICKETS).classify("text", labels=LABELS, into="team", confidence=False)
    assert list(result.columns) == ["text", "gold", "team"]
    alone = frame(TICKETS["text"]).classify(labels=LABELS, confidence=False)
    assert (alone.name, str(alone.dtype)) == ("text", "category")
    assert alone.tolist()[:2] == result["team"].tolist()[:2]
    both = frame(TICKETS["text"]).classify(labels=LABELS, into="team")
    assert list(both.columns) == ["team", "team_confidence"]
    mask = frame(TICKETS["text"]).filter("{}?")
    assert (mask.name, str(mask.dtype)) == ("text", "boolean")
    assert len(TICKETS[mask.fillna(False)]) == mask.sum()


def test_nothing_stays_behind_of_an_earlier_run(engine: FakeEngine) -> None:
    first = frame(TICKETS).classify("text", labels=LABELS, probs=True)
    other = frame(first).classify("text", labels=["x", "y"], into="second")
    assert list(other.columns) == [*first.columns, "second", "second_confidence"]
    again = frame(other).filter("{text}?", into="label")
    assert list(again.columns) == ["text", "gold", "label", "second", "second_confidence"]
    assert list(other.columns)[2:5] == ["label", "label_confidence", "label_probs"]


def test_long_rows_are_cut_with_room_for_their_label(engine: FakeEngine) -> None:
    engine.resolved.max_model_len = engine.geometry.max_model_len = 300
    data = pd.DataFrame({"text": ["x" * 1000]})
    result = frame(data).classify("Ticket: {text}!", labels=["tech", "technical", "other"], truncate="right")
    assert result["label"].notna().all() and result.attrs["pagednb"]["truncated"] == 1
    assert all(bytes(prompt).decode().split("!")[0].endswith("x…") for prompt in engine.calls[0].prompts)

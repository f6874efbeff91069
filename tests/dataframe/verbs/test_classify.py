"""``classify``, ``filter`` and ``score``: what is asked, what it costs, what comes back, what is refused."""

from __future__ import annotations

import asyncio
import enum
import json
import pathlib
import threading
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from support.fake_engine import FakeEngine, fake_logprob
from support.tiny_models import tiny_tokenizer

from pagednb import runtime
from pagednb.dataframe.accessor import frame
from pagednb.dataframe.labels.tokens import LabelTokenizer
from pagednb.dataframe.run.job import Job
from pagednb.dataframe.run.task import EncodedPrompt
from pagednb.engine.tokenization import TextCodec
from pagednb.errors import (
    CheckpointError,
    NotSupportedYetError,
    OptionError,
    RowErrors,
    RowErrorsWarning,
    TemplateError,
)

LABELS = ["billing", "tech", "other"]
TICKETS = pd.DataFrame(
    {"text": ["late", "broken", None, "late"], "gold": ["other", "tech", None, "x"]}, index=[1, 1, 2, 2]
)
Team = enum.Enum("Team", {"a": "it support", "b": "sales"})
WORDS = "Answer with one of these labels:\n- billing\n- tech\n- other\n\n"


def prompts_of(engine: FakeEngine) -> list[str]:
    return [bytes(prompt).decode() for call in engine.calls for prompt in call.prompts]


def share(prompt: str, labels: list[str]) -> np.ndarray:
    """Probabilities of labels whose first bytes differ."""
    weights = np.exp([fake_logprob(prompt.encode(), label.encode()[0]) for label in labels])
    return weights / weights.sum()


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


def test_scores_of_named_answers(engine: FakeEngine) -> None:
    choices = {"bad": 0, "Fair": 0.5, "good": 1}
    result = frame(TICKETS).score("Rate {text}", choices=choices, into="mood")
    words = "Answer with one of these:\n- bad\n- Fair\n- good\n\n"
    expected = share(f"{words}Rate late", list(choices))
    assert result["mood"].iloc[0] == pytest.approx(expected @ [0, 0.5, 1])
    assert result["mood_probs"].iloc[0] == pytest.approx(dict(zip(choices, expected, strict=True)))
    assert str(result["mood"].dtype) == "Float64" and result["mood"].iloc[2] is pd.NA
    numbers = frame(TICKETS).score("Rate {text}", choices=[0.5, 10, 2], probs=False)
    assert list(numbers.columns) == ["text", "gold", "score"]
    assert numbers["score"].iloc[0] == pytest.approx(
        share("Answer with one of these:\n- 0.5\n- 10\n- 2\n\nRate late", ["0.5", "10", "2"]) @ [0.5, 10, 2]
    )


def test_scores_keep_their_answers_as_texts(engine: FakeEngine) -> None:
    result = frame(TICKETS).score("text", scale=np.array([1, 3]).tolist())
    assert list(result["score_probs"].iloc[0]) == ["1", "2", "3"]
    json.dumps(frame(TICKETS).score("text", choices=np.array([1.5, 2])).attrs)
    json.dumps(frame(TICKETS).classify("text", labels=np.array(LABELS), min_confidence=np.float32(0.5)).attrs)


# --- runs


def test_the_same_cell_again_costs_nothing(engine: FakeEngine, tmp_path: pathlib.Path) -> None:
    options: dict[str, Any] = {"labels": ["ab", "a", "b"], "probs": True}
    first = frame(TICKETS).classify("text", **options)
    again = frame(TICKETS).classify("text", **options)
    assert again.attrs["pagednb"]["computed"] == 0
    pd.testing.assert_frame_equal(first, again)
    other = frame(TICKETS).classify("text", labels=["ab", "b", "a"])
    assert other.attrs["pagednb"]["computed"] == 2
    json.dumps(first.attrs)


def test_a_checkpoint_goes_on_and_knows_its_labels(engine: FakeEngine, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("pyarrow")
    options: dict[str, Any] = {"labels": ["ab", "a", "b"], "multi": False, "cache": False, "checkpoint": tmp_path}
    first = frame(TICKETS).classify("text", sample=1, **options)
    assert first["label"].notna().sum() == 1
    full = frame(TICKETS).classify("text", **options)
    assert full.attrs["pagednb"]["resumed"] == 1
    assert full["label"].notna().tolist() == [True, True, False, True]
    again = frame(TICKETS).classify("text", probs=True, **options)
    assert again.attrs["pagednb"]["computed"] == 0
    with pytest.raises(CheckpointError, match="labels"):
        frame(TICKETS).classify("text", **{**options, "labels": ["ab", "c"]})


def test_jobs_and_awaitables(engine: FakeEngine) -> None:
    expected = frame(TICKETS).classify("text", labels=LABELS)
    job = frame(TICKETS).classify("text", labels=LABELS, background=True, cache=False)
    assert isinstance(job, Job)
    assert job.partial()["label"].cat.categories.tolist() == LABELS
    assert job.result()["label"].tolist()[:2] == expected["label"].tolist()[:2]

    async def ask() -> list[Any]:
        verbs = frame(TICKETS)
        runs = (verbs.aclassify("text", labels=LABELS), verbs.afilter("{text}?"), verbs.ascore("text", scale=(1, 3)))
        return list(await asyncio.gather(*runs))

    labels, kept, scores = asyncio.run(ask())
    assert labels["label"].equals(expected["label"])
    assert "keep" in kept and "score" in scores


def test_failed_rows_can_be_retried(engine: FakeEngine) -> None:
    engine.resolved.max_model_len = engine.geometry.max_model_len = 200
    data = pd.DataFrame({"text": ["late", "x" * 300, "broken"]}, index=[0, 0, 1])
    for options in ({"probs": True}, {"multi": True}):
        engine.resolved.max_model_len = engine.geometry.max_model_len = 200
        with pytest.warns(RowErrorsWarning, match="1 of 3 rows failed"):
            before = frame(data).classify("text", labels=LABELS, into="team", **options)  # type: ignore[arg-type]
        engine.resolved.max_model_len = engine.geometry.max_model_len = 2000
        after = frame(before).retry("team")
        whole = frame(data).classify("text", labels=LABELS, into="team", cache=False, **options)  # type: ignore[arg-type]
        pd.testing.assert_frame_equal(after, whole)


def test_an_aborted_request_fails_its_row_alone(engine: FakeEngine) -> None:
    engine.abort_share = 1.0
    with pytest.warns(RowErrorsWarning, match="3 of 4 rows failed"):
        result = frame(TICKETS).classify("text", labels=["ab", "a"])
    assert result["label"].isna().all() and result["label"].cat.categories.tolist() == ["ab", "a"]
    with pytest.raises(RowErrors):
        frame(TICKETS).filter("text", errors="raise", into="other")


# --- what is refused


def test_labels_that_no_token_tells_apart_are_named(engine: FakeEngine) -> None:
    encode = engine.encode
    engine.encode = lambda texts, **options: encode([text.lower() for text in texts], **options)  # type: ignore[method-assign]
    with pytest.raises(OptionError, match="The labels 'tech' and 'Tech' are the same tokens"):
        frame(TICKETS).classify("text", labels=["tech", "other", "Tech"])
    with pytest.raises(OptionError, match="goes on with the end token"):
        frame(TICKETS).classify("text", labels=["a", "a\0", "b"])


def test_long_rows_are_cut_with_room_for_their_label(engine: FakeEngine) -> None:
    engine.resolved.max_model_len = engine.geometry.max_model_len = 300
    data = pd.DataFrame({"text": ["x" * 1000]})
    result = frame(data).classify("Ticket: {text}!", labels=["tech", "technical", "other"], truncate="right")
    assert result["label"].notna().all() and result.attrs["pagednb"]["truncated"] == 1
    assert all(bytes(prompt).decode().split("!")[0].endswith("x…") for prompt in engine.calls[0].prompts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "labels=None"),
        ({"labels": "billing"}, "labels='billing'"),
        ({"labels": 3}, "labels=3"),
        ({"labels": ["a"]}, "There is one label"),
        ({"labels": ["a", "a"]}, "comes twice"),
        ({"labels": ["a", " "]}, "blank"),
        ({"labels": ["a", 1]}, "Give '1'"),
        ({"labels": ["a", None]}, "is no text.*Leave it out"),
        ({"labels": ["a", float("nan")]}, "is no text.*dropna"),
        ({"labels": Team}, "Give 'it support'"),
        ({"labels": Literal["a", "b"]}, "is a type. Give its values: typing.get_args"),
        ({"labels": {"a", "b"}}, "labels= is a set.*sorted"),
        ({"labels": frozenset("ab")}, "labels= is a set"),
        ({"labels": ["a", "b"], "multi": "no"}, "multi='no'.*True or False"),
        ({"labels": ["a", "b"], "probs": 1}, "probs=1"),
        ({"labels": ["a", "b"], "confidence": "False"}, "confidence='False'"),
        ({"labels": ["a", "\ud800"]}, "surrogate"),
        ({"labels": {"a": 3, "b": None}}, "description of 'a'"),
        ({"labels": ["a", "b"], "min_confidence": 2}, "min_confidence=2"),
        ({"labels": ["a", "b"], "min_confidence": "high"}, "min_confidence='high'"),
        ({"labels": ["a", "b"], "calibrate": True}, "calibrate=True"),
        ({"labels": ["a", "b"], "into": ""}, "into=''"),
        ({"labels": ["a", "b"], "errors": "ignore"}, "errors='ignore'"),
        ({"labels": ["a", "b"], "system": "Be brief."}, "no chat template"),
        ({"labels": ["a", "b"], "system": 3}, "system=3"),
        ({"labels": ["a", "b"], "examples": [1]}, "examples of type list"),
        ({"labels": ["a", "b"], "examples": TICKETS}, "no column 'label'"),
        ({"labels": ["a", "b"], "examples": TICKETS, "into": "gold"}, "NA in a column"),
        ({"labels": ["a", "b"], "examples": TICKETS.iloc[:1], "into": "gold"}, "has the label 'other'"),
        ({"labels": ["a", "b"], "temperature": 1.0}, "temperature= has no meaning"),
        ({"labels": ["a", "b"], "sampling_params": None}, "sampling_params= has no meaning"),
        ({"labels": ["a", "b"], "calibrated": 1}, "Did you mean 'calibrate'"),
        ({"labels": ["a", "b"], "min_conf": 0.9}, "Did you mean 'min_confidence'"),
        ({"labels": ["a", "b"], "xyz": 0.9}, "Known options: .*min_confidence"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(engine: FakeEngine, options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        frame(TICKETS).classify("text", **options)
    assert engine.calls == []


def test_examples_without_the_columns_of_the_template(engine: FakeEngine) -> None:
    examples = pd.DataFrame({"txt": ["a"], "label": ["billing"]})
    with pytest.raises(TemplateError, match=r"Of the examples: .*'text'\. Name their columns"):
        frame(TICKETS).classify("{text}", labels=LABELS, examples=examples)


def test_what_is_not_built_yet(engine: FakeEngine) -> None:
    engine.added_tokens = {ord("~"): "<think>"}
    with pytest.raises(NotSupportedYetError, match="leaves the model thinking"):
        frame(TICKETS).classify("{text}~", labels=LABELS)
    with pytest.raises(NotSupportedYetError, match="examples= with multi=True"):
        frame(TICKETS).classify("text", labels=["a"], multi=True, examples=TICKETS)


def test_results_can_be_saved_whatever_numbers_the_options_are(engine: FakeEngine, tmp_path: pathlib.Path) -> None:
    result = frame(TICKETS).score("text", scale=(np.int64(1), np.int64(3)))
    result.to_parquet(tmp_path / "scored.parquet")
    assert json.dumps(result.attrs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs scale= or choices="),
        ({"scale": (1, 3), "choices": [1, 2]}, "Give one of the two"),
        ({"choices": [1, 1]}, "The choice '1' comes twice"),
        ({"choices": [10**400, 1]}, "is no number"),
        ({"scale": (3, 1)}, r"scale=\(3, 1\)"),
        ({"scale": (0, 0.5)}, "two whole numbers"),
        ({"scale": (0, 1000)}, "1001 steps"),
        ({"choices": ["bad", "good"]}, "is no number"),
        ({"choices": [1, float("nan")]}, "is no number"),
        ({"choices": {"bad": "x"}}, "is no number"),
        ({"choices": [1]}, "at least 2"),
        ({"choices": [1, True]}, "is no number"),
        ({"choices": 5}, "choices=5"),
        ({"choices": {1, 2}}, "choices= is a set"),
        ({"scale": (1, 3), "probs": "yes"}, "probs='yes'"),
    ],
)
def test_what_makes_no_scale(engine: FakeEngine, options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        frame(TICKETS).score("text", **options)
    assert engine.calls == []


def test_calibration_runs_with_the_rows_and_costs_nothing_the_second_time(engine: FakeEngine) -> None:
    options: dict[str, Any] = {"labels": LABELS, "calibrate": "contextual"}
    caller, threads = threading.current_thread(), []
    engine.on_submit = lambda: threads.append(threading.current_thread())
    first = frame(TICKETS).classify("text", **options, background=True).result(10)
    assert len(engine.calls) == 2 and caller not in threads
    again = frame(TICKETS).classify("text", **options)
    pd.testing.assert_frame_equal(first, again)
    assert sum(len(call.submitted) for call in engine.calls) == 5  # three prompts without content, two rows
    empty = frame(TICKETS.iloc[:0]).classify("text", **{**options, "labels": ["x", "y"]})
    assert empty["label"].cat.categories.tolist() == ["x", "y"]
    assert sum(len(call.submitted) for call in engine.calls) == 5

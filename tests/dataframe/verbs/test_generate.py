"""``generate`` on frames and series: what comes back, whatever goes in."""

from __future__ import annotations

import datetime
import json
import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.fake_engine import FakeEngine, reverse

from pagednb import runtime
from pagednb.dataframe.accessor import frame
from pagednb.dataframe.results.columns import TEXT_DTYPE
from pagednb.errors import (
    EngineNotLoadedError,
    NotSupportedYetError,
    OptionError,
    RowErrors,
    RowErrorsWarning,
    TemplateError,
)
from pagednb.sampling_params import SamplingParams

TICKETS = pd.DataFrame({"text": ["late parcel", "no login", None], "stars": [1, 2, 3]}, index=["x", "y", "x"])


def test_a_column_is_the_prompt(engine: FakeEngine) -> None:
    before = TICKETS.copy(deep=True)
    result = frame(TICKETS).generate("text", into="team")
    pd.testing.assert_frame_equal(TICKETS, before)
    assert result is not TICKETS
    assert list(result.columns) == ["text", "stars", "team"]
    assert result.index.tolist() == ["x", "y", "x"]
    assert result["team"].dtype == TEXT_DTYPE
    assert result["team"].isna().tolist() == [False, False, True]
    assert result["team"].tolist()[:2] == ["lecrap etal", "nigol on"]
    pd.testing.assert_frame_equal(result[["text", "stars"]], before)


def test_a_template_is_filled_from_columns(engine: FakeEngine) -> None:
    result = frame(TICKETS).generate('{stars:03d} {text!r} -> {"team": 1}')
    assert result["generated"].tolist()[:2] == [
        reverse("001 'late parcel' -> {\"team\": 1}"),
        reverse("002 'no login' -> {\"team\": 1}"),
    ]
    assert pd.isna(result["generated"].iloc[2])


def test_only_columns_in_use_make_a_row_missing(engine: FakeEngine) -> None:
    result = frame(TICKETS).generate("{stars} stars, {{text}}")
    assert result["generated"].notna().all()
    assert len(engine.calls[0].submitted) == 3


def test_missing_values_of_every_kind_are_not_sent(engine: FakeEngine) -> None:
    values = [None, np.nan, pd.NA, pd.NaT, float("nan"), "text"]
    result = frame(pd.DataFrame({"a": pd.Series(values, dtype=object)})).generate("a")
    assert result["generated"].isna().tolist() == [True] * 5 + [False]
    assert len(engine.calls[0].submitted) == 1
    assert "generated_error" not in result


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pd.Series([1, 20]), ["1", "20"]),
        (pd.Series([1.5, -2]), ["1.5", "-2.0"]),
        (pd.Series([1, None], dtype="Int64"), ["1", None]),
        (pd.Series([True, None], dtype="boolean"), ["True", None]),
        (pd.Series(["b", None, "a"], dtype="category"), ["b", None, "a"]),
        (pd.Series(pd.to_datetime(["2024-02-29", None])), ["2024-02-29 00:00:00", None]),
        (pd.Series([pd.Timedelta("1h")]), ["0 days 01:00:00"]),
        (pd.Series([datetime.date(2024, 2, 29), ["a", 1]]), ["2024-02-29", "['a', 1]"]),
        (pd.Series(["ü", "日本", "👩‍🚀"]), ["ü", "日本", "👩‍🚀"]),
        (pd.Series(pd.arrays.SparseArray([1.0, np.nan])), ["1.0", None]),
    ],
)
def test_cells_become_text_as_str_does_it(engine: FakeEngine, values: pd.Series, texts: list[str | None]) -> None:
    engine.answer = lambda prompt: prompt
    result = frame(values).generate()
    assert result.dtype == TEXT_DTYPE
    assert [None if pd.isna(text) else text for text in result] == texts


def test_an_empty_frame_gains_an_empty_column(engine: FakeEngine) -> None:
    result = frame(TICKETS.iloc[:0]).generate("text")
    assert list(result.columns) == ["text", "stars", "generated"]
    assert result["generated"].dtype == TEXT_DTYPE
    assert len(frame(pd.Series([], dtype=object)).generate()) == 0


# --- failing rows


def failing_frame() -> pd.DataFrame:
    texts = ["fine", "", b"bytes", "x" * 3000, "\ud800", None, "fine too"]
    return pd.Series(texts, index=[0, 0, 0, 1, 1, 1, 2], dtype=object, name="text").to_frame()


def test_failed_rows_have_their_reason_and_spoil_nothing(engine: FakeEngine) -> None:
    with pytest.warns(RowErrorsWarning) as caught:
        result = frame(failing_frame()).generate("text", into="out")
    assert len(caught) == 1
    assert "4 of 7 rows failed; the first is row 1: The prompt is empty." in str(caught[0].message)
    assert caught[0].filename == __file__
    assert list(result.columns) == ["text", "out", "out_error"]
    assert result["out"].isna().tolist() == [False, True, True, True, True, True, False]
    assert result["out_error"].isna().tolist() == [True, False, False, False, False, True, True]
    assert result["out_error"].dtype == TEXT_DTYPE
    assert "bytes" in result["out_error"].iloc[2]
    assert "3000 tokens" in result["out_error"].iloc[3]


def test_a_failing_format_is_a_row_error(engine: FakeEngine) -> None:
    data = pd.DataFrame({"price": pd.Series([1.5, "free", 2], dtype=object)})
    with pytest.warns(RowErrorsWarning, match=r"1 of 3 rows failed.*\{price:\.1f\} cannot be filled"):
        result = frame(data).generate("{price:.1f}")
    assert result["generated"].isna().tolist() == [False, True, False]


def test_errors_raise_comes_after_the_run_with_the_failures(engine: FakeEngine) -> None:
    with pytest.raises(RowErrors, match="4 of 7 rows failed") as caught:
        frame(failing_frame()).generate("text", errors="raise", into="out")
    failures = caught.value.frame
    assert failures.index.tolist() == [0, 0, 1, 1]
    assert list(failures.columns) == ["text", "out_error"]
    assert failures["out_error"].notna().all()
    assert len(engine.calls[0].submitted) == 2


def test_a_series_lists_its_failures(engine: FakeEngine) -> None:
    values = failing_frame()["text"]
    with pytest.warns(RowErrorsWarning):
        result = frame(values).generate()
    failures = result.attrs["pagednb"]["failures"]
    assert [failure["row"] for failure in failures] == [1, 2, 3, 4]
    with pytest.raises(RowErrors) as caught:
        frame(values).generate(errors="raise")
    assert list(caught.value.frame.columns) == ["text", "generated_error"]


def test_a_clean_run_leaves_no_old_error_column(engine: FakeEngine) -> None:
    with pytest.warns(RowErrorsWarning):
        first = frame(failing_frame()).generate("text")
    again = frame(first.iloc[[0, 6]]).generate("text")
    assert list(again.columns) == ["text", "generated"]


# --- templates and options are refused before any work


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("txt", "Did you mean 'text'"),
        ("Label this ticket", "no column and uses none"),
        ("{txt}", "Did you mean {text}"),
        ("{text} {nope}", "no 'nope'"),
        ('{"a": 1}', "no column and uses none"),
        ("{{text}}", "no column and uses none"),
        (3, "neither a column nor a text"),
        (["text"], "neither a column nor a text"),
        (None, r"Which column\?.*For example \"Summarise: \{text\}\". Known: 'text'"),
    ],
)
def test_a_wrong_template_is_refused_before_any_work(engine: FakeEngine, template: Any, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        frame(TICKETS).generate(template)
    assert engine.calls == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_token": 3}, "Did you mean 'max_tokens'"),
        ({"sytem": "x"}, "Did you mean 'system'"),
        ({"temperature": -1}, "temperature=-1"),
        ({"errors": "ignore"}, "Use 'coerce' or 'raise'"),
        ({"into": ""}, "into=''"),
        ({"into": 3}, "into=3"),
        ({"progress": "yes"}, "progress='yes'"),
        ({"system": 3}, "system=3"),
        ({"system": "x"}, "no chat template"),
        ({"sampling_params": {"top_p": 0.5}}, "type dict"),
        ({"sampling_params": SamplingParams(), "top_p": 0.5, "seed": 1}, "also seed, top_p"),
    ],
)
def test_a_wrong_option_is_refused_before_any_work(engine: FakeEngine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        frame(TICKETS).generate("text", **options)
    assert engine.calls == []


@pytest.mark.parametrize("options", [{"logprobs": 1}, {"logprob_token_ids": [1]}, {"detokenize": False}])
def test_what_is_not_built_says_so(engine: FakeEngine, options: dict[str, Any]) -> None:
    with pytest.raises(NotSupportedYetError, match=next(iter(options))):
        frame(TICKETS).generate("text", **options)


def test_a_column_that_occurs_twice_is_refused(engine: FakeEngine) -> None:
    data = pd.DataFrame([["a", "b", "c"]], columns=["text", "text", "other"])
    for template in ("text", "Say {text}"):
        with pytest.raises(TemplateError, match="2 columns named 'text'"):
            frame(data).generate(template)
    assert frame(data).generate("other")["generated"].tolist() == ["c"]


def test_a_group_of_columns_is_refused(engine: FakeEngine) -> None:
    data = pd.DataFrame([["a"]], columns=pd.MultiIndex.from_tuples([("t", "x")]))
    with pytest.raises(TemplateError, match=r"'t' is a group of 1 columns. Name one, as \('t', 'x'\)"):
        frame(data).generate("t")


def test_without_an_engine_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_engine() -> None:
        raise EngineNotLoadedError("No model is loaded.")

    monkeypatch.setattr(runtime, "get_engine", no_engine)
    with pytest.raises(EngineNotLoadedError):
        frame(TICKETS).generate("text")


# --- columns with unusual labels


def test_labels_that_are_not_text(engine: FakeEngine) -> None:
    engine.answer = lambda prompt: prompt
    data = pd.DataFrame({0: ["a"], ("b", 1): ["c"], "ticket text": ["d"], "{odd}": ["e"]})
    for template, text in ((0, "a"), (("b", 1), "c"), ("{0}{ticket text}", "ad"), ("{odd}", "e")):
        assert frame(data).generate(template)["generated"].tolist() == [text]


def test_columns_with_levels(engine: FakeEngine) -> None:
    data = pd.DataFrame([["a", "b"]], columns=pd.MultiIndex.from_tuples([("t", "x"), ("t", "y")]))
    result = frame(data).generate(("t", "y"), into="out")
    assert result.iloc[0].tolist() == ["a", "b", "b"]
    assert result.columns.nlevels == 2


# --- series


def test_a_series_keeps_index_and_name(engine: FakeEngine) -> None:
    index = pd.MultiIndex.from_tuples([("a", 1), ("a", 1), ("b", 2)], names=["k", "n"])
    values = pd.Series(["one", "two", None], index=index, name="text")
    for template in (None, "{}", "{value}", "{text}", "text"):
        result = frame(values).generate(template)
        pd.testing.assert_index_equal(result.index, index)
        assert result.name == "text"
        assert result.dtype == TEXT_DTYPE
        assert result.tolist()[:2] == ["eno", "owt"]
        assert pd.isna(result.iloc[2])
    assert values.tolist()[:2] == ["one", "two"]


def test_series_templates(engine: FakeEngine) -> None:
    engine.answer = lambda prompt: prompt
    values = pd.Series([1.25, 2.0], name="ticket text")
    result = frame(values).generate('{:.1f} {value!r} {ticket text} {{}} {"a": {}}')
    assert result.iloc[0] == '1.2 1.25 1.25 {} {"a": 1.25}'
    for template in ("no field", "{other}", "{{}}"):
        with pytest.raises(TemplateError):
            frame(values).generate(template)


def test_only_pandas_objects_have_verbs() -> None:
    with pytest.raises(OptionError, match="not list"):
        frame(["a"])  # type: ignore[arg-type]


# --- sampling and figures


def sampling_of(engine: FakeEngine, **options: Any) -> SamplingParams:
    frame(TICKETS).generate("text", **options)
    return engine.calls[-1].submitted[0][1]


def test_sampling_defaults_are_greedy_unless_the_model_says_otherwise(engine: FakeEngine) -> None:
    assert sampling_of(engine) == SamplingParams(temperature=0.0, max_tokens=256)
    assert sampling_of(engine, temperature=0.5, stop="\n", min_p=0.1).min_p == 0.1
    engine.resolved.generation_config = {"temperature": 0.7, "top_k": 20}
    assert sampling_of(engine, max_tokens=9) == SamplingParams(temperature=0.7, top_k=20, max_tokens=9)
    assert sampling_of(engine, temperature=0).is_greedy
    whole = SamplingParams(top_p=0.3, seed=5)
    assert sampling_of(engine, sampling_params=whole) == whole


def test_figures_are_json_and_survive_pandas(engine: FakeEngine) -> None:
    TICKETS.attrs["mine"] = "kept"
    result = frame(TICKETS).generate("Label {text}", seed=3, stop=["\n"], logit_bias={5: 1.5}, into="team")
    TICKETS.attrs.clear()
    assert result.attrs["mine"] == "kept"
    figures = json.loads(json.dumps(result[result["stars"] < 3].copy().attrs["pagednb"]))
    assert figures["model"] == "fake/model"
    assert figures["seed"] == 3
    assert (figures["rows"], figures["missing"], figures["computed"]) == (3, 1, 2)
    assert (figures["failed"], figures["duplicates"], figures["failures"]) == (0, 0, [])
    assert figures["prompt_tokens"] == figures["output_tokens"] == len("Label late parcel" + "Label no login")
    assert figures["sampling"] == {
        "temperature": 0.0,
        "max_tokens": 256,
        "seed": 3,
        "stop": ["\n"],
        "logit_bias": {"5": 1.5},
    }
    assert (figures["template"], figures["into"], figures["system"]) == ("Label {text}", "team", None)
    assert {"seconds", "rows_per_s", "tokens_per_s", "cached_tokens", "cut_at_max_tokens"} <= figures.keys()


def test_running_twice_replaces_the_column(engine: FakeEngine) -> None:
    first = frame(TICKETS).generate("text")
    second = frame(first).generate("stars")
    assert list(second.columns) == ["text", "stars", "generated"]
    assert second["generated"].tolist() == ["1", "2", "3"]
    assert first["generated"].tolist()[0] == "lecrap etal"


def test_no_warning_of_pandas_reaches_the_user(engine: FakeEngine) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame(TICKETS[TICKETS["stars"] > 1]).generate("{text}{stars}")


@pytest.mark.parametrize(
    ("constraint", "cut", "whole"),
    [
        ({"choices": ["billing", "bug"]}, "bil", "bug"),
        ({"schema": {"type": "object"}}, '{"a', "{}"),
        ({"regex": "[0-9]+-[0-9]+"}, "12-", "1-2"),
        ({"grammar": 'start: "ab"'}, "a", None),
    ],
)
@pytest.mark.parametrize("more", [{}, {"logprobs": True}])
def test_a_constrained_answer_that_was_cut_is_no_value(
    engine: FakeEngine, constraint: dict[str, Any], cut: str, whole: str | None, more: dict[str, Any]
) -> None:
    engine.answer = lambda prompt: f"{cut}    " if prompt == "cut" else whole or ""
    with pytest.warns(RowErrorsWarning, match="cut at max_tokens"):
        result = frame(pd.DataFrame({"text": ["cut", "whole"]})).generate(
            "text", max_tokens=len(cut), **constraint, **more
        )
    assert result["generated"].isna().tolist() == [True, False]
    assert result["generated"].iloc[1] == (whole or "")


@pytest.mark.parametrize(
    ("template", "hint"),
    [("value", "Did you mean \"{value}\"|Did you mean '{value}'"), ("Summarise", "Put {value} where")],
)
def test_a_series_template_without_a_field(engine: FakeEngine, template: str, hint: str) -> None:
    with pytest.raises(TemplateError, match=hint):
        frame(pd.Series(["a"])).generate(template)


def test_row_errors_travel_between_processes(engine: FakeEngine) -> None:
    engine.resolved.max_model_len = engine.geometry.max_model_len = 20
    with pytest.raises(RowErrors) as caught:
        frame(pd.DataFrame({"text": ["x" * 50]})).generate("text", errors="raise")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.hint) == (str(caught.value), caught.value.hint)
    pd.testing.assert_frame_equal(copy.frame, caught.value.frame)

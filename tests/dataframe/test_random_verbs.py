"""Any verb, any frame, any options: a row's answer is the one it gets alone, and all else stays as it was."""

from __future__ import annotations

import json
import tempfile
import warnings
import zlib
from typing import Any, Literal

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_engine import FakeEngine
from support.random_frames import frames

from pagednb import runtime
from pagednb.dataframe.accessor import frame
from pagednb.dataframe.results.last_run import last_run
from pagednb.errors import EngineStepError, RowErrors, RowErrorsWarning

FIELDS = {"n": int, "share": float | None, "kind": Literal["a", "b"], "list": list[int]}
VERBS: dict[str, tuple[str, dict[str, Any]]] = {
    "generate": ("generate", {"max_tokens": 500}),
    "extract": ("extract", {"schema": FIELDS, "max_tokens": 500}),
    "objects": ("extract", {"schema": FIELDS, "expand": False, "max_tokens": 500}),
    "classify": ("classify", {"labels": ["a", "ab", "b"], "probs": True}),
    "multi": ("classify", {"labels": ["a", "ab", "b"], "multi": True, "probs": True}),
    "filter": ("filter", {"confidence": True}),
    "score": ("score", {"scale": (9, 11)}),
    "embed": ("embed", {"pooling": "mean"}),
}
LIMIT = 260


def answered(prompt: str) -> str:
    """JSON that fits FIELDS, or for some prompts does not."""
    number = zlib.crc32(prompt.encode())
    if number % 7 == 0:
        return "no JSON"
    return json.dumps({"n": number % 50, "share": number % 3 or None, "kind": "ab"[number % 2], "list": [number % 5]})


def run(engine: FakeEngine, data: Any, verb: str, template: Any, **options: Any) -> Any:
    engine.reads_plain_texts = verb == "embed"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", RowErrorsWarning)
        patch.setattr(runtime, "get_engine", lambda: engine)
        return getattr(frame(data), verb)(template, progress=False, **options)


def new_engine(**options: Any) -> FakeEngine:
    return FakeEngine(max_model_len=LIMIT, answer=answered, **options)


def values_of(result: Any, into: str = "x") -> list[tuple[Any, ...]]:
    """All new cells, a tuple a row, None for NA; a reason only as that there is one."""
    table = nw.from_native(result)
    names = [name for name in table.columns if isinstance(name, str) and name.startswith(into)]
    rows = zip(*(table[name].to_list() for name in names if name != f"{into}_error"), strict=True)
    reasons = table[f"{into}_error"].to_list() if f"{into}_error" in names else [None] * len(table)
    return [(*map(plain, row), not is_na(reason)) for row, reason in zip(rows, reasons, strict=True)]


def is_na(value: Any) -> bool:
    return not isinstance(value, list | dict | np.ndarray) and bool(pd.isna(value))


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return None if is_na(value) else value


def new_columns(result: pd.DataFrame) -> pd.DataFrame:
    """The columns that a run made, under their plain names; the other names may come twice."""
    plain_names = [str(label[0] if isinstance(label, tuple) else label) for label in result.columns]
    is_new = [name.startswith("x") for name in plain_names]
    return result.loc[:, is_new].set_axis([name for name in plain_names if name.startswith("x")], axis=1)


def alone(data: pd.DataFrame, verb: str, template: Any, **options: Any) -> list[tuple[Any, ...]]:
    rows = [data.iloc[[row]] for row in range(len(data))]
    results = (run(new_engine(), row, verb, template, into="x", cache=False, **options) for row in rows)
    return [values_of(new_columns(result))[0] for result in results]


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Frames with columns in the way: names that come twice, that are no text, that a run would take."""
    data = draw(frames(max_rows=14))
    kind = draw(st.sampled_from(["plain", "twice", "numbers", "taken", "levels"]))
    if kind == "twice":
        data = pd.concat([data, data[["other"]]], axis=1)
    elif kind == "numbers":
        data[3] = 1
        data[("a", 1)] = 2
    elif kind == "taken":
        data["x"] = "mine"
    elif kind == "levels":
        data.columns = pd.MultiIndex.from_tuples([("text", ""), ("other", "")])
    return data


@settings(max_examples=25, deadline=None)
@given(tables(), st.sampled_from(list(VERBS)), st.booleans(), st.integers(0, 1000))
def test_a_row_gets_what_it_gets_alone(data: pd.DataFrame, name: str, is_cached: bool, seed: int) -> None:
    verb, options = VERBS[name]
    template: Any = ("text", "") if data.columns.nlevels > 1 else "{text}?" if seed % 2 else "text"
    before = data.copy(deep=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime._RUNTIME, "name_to_kept", {})
        engine = new_engine(seed=seed, max_per_poll=4)
        result = run(engine, data, verb, template, into="x", cache=is_cached, **options)
        again = run(engine, data, verb, template, into="x", cache=is_cached, **options)
    pd.testing.assert_frame_equal(data, before)
    kept = result.loc[:, [label not in new_columns(result).columns for label in result.columns.get_level_values(0)]]
    pd.testing.assert_frame_equal(kept, before.loc[:, [label != "x" for label in before.columns]])
    pd.testing.assert_frame_equal(result, again)
    pd.testing.assert_index_equal(result.index, before.index)
    assert values_of(new_columns(result)) == alone(before, verb, template, **options)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.none() | st.text(max_size=4) | st.just("long " * 80), max_size=20), st.sampled_from(list(VERBS)))
def test_polars_has_the_values_of_pandas(texts: list[str | None], name: str) -> None:
    verb, options = VERBS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime._RUNTIME, "name_to_kept", {})
        native = run(
            new_engine(), pl.DataFrame({"text": texts}, {"text": pl.String}), verb, "text", into="x", **options
        )
    data = pd.DataFrame({"text": pd.Series(texts, dtype=object)})
    expected = values_of(run(new_engine(), data, verb, "text", into="x", cache=False, **options))
    assert native.drop([column for column in native.columns if column != "text"])["text"].to_list() == texts
    assert values_of(native) == expected


@settings(max_examples=15, deadline=None)
@given(frames(max_rows=20), st.sampled_from(list(VERBS)), st.integers(0, 30), st.integers(0, 1000))
def test_an_engine_that_fails_takes_nothing_that_was_done(
    data: pd.DataFrame, name: str, num_polls: int, seed: int
) -> None:
    verb, options = VERBS[name]
    engine = new_engine(seed=seed, max_per_poll=3)
    left = iter(range(num_polls))

    def fail() -> None:
        if next(left, None) is None:
            raise EngineStepError("The device is gone.")

    engine.on_poll = fail
    expected = values_of(run(new_engine(), data, verb, "{text}", into="x", cache=False, **options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime._RUNTIME, "name_to_kept", {})
        try:
            run(engine, data, verb, "{text}", into="x", **options)
        except EngineStepError:
            partial = last_run().frame
            pd.testing.assert_frame_equal(partial[["text", "other"]], data)
            for found, whole in zip(values_of(partial), expected, strict=True):
                assert found == whole or not any(found)
        assert values_of(run(new_engine(seed=seed), data, verb, "{text}", into="x", **options)) == expected


@settings(max_examples=15, deadline=None)
@given(st.lists(st.none() | st.text(max_size=4) | st.just("long " * 80), max_size=20), st.sampled_from(list(VERBS)))
def test_retry_gives_what_a_better_engine_would_have_given(texts: list[str | None], name: str) -> None:
    verb, options = VERBS[name]
    if name == "objects":
        return  # no frame remembers a class
    data = pd.DataFrame({"text": pd.Series(texts, dtype=object)})
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", RowErrorsWarning)
        patch.setattr(runtime._RUNTIME, "name_to_kept", {})
        first = run(new_engine(abort_share=0.5, seed=len(texts)), data, verb, "{text}", into="x", **options)
        patch.setattr(runtime, "get_engine", lambda: FakeEngine(max_model_len=2000, answer=answered))
        result = frame(first).retry("x", progress=False) if "x_error" in first else first
    whole = FakeEngine(max_model_len=2000, answer=answered)
    expected = run(whole, data, verb, "{text}", into="x", cache=False, **options)
    assert values_of(result) == values_of(expected)
    assert {n: str(d) for n, d in result.dtypes.items()} == {n: str(d) for n, d in expected.dtypes.items()}


@settings(max_examples=15, deadline=None)
@given(frames(max_rows=14), st.sampled_from(["other", None, "levels"]), st.integers(0, 1000))
def test_aggregated_groups_are_those_of_pandas(data: pd.DataFrame, by: str | None, seed: int) -> None:
    engine = FakeEngine(max_model_len=2000, seed=seed, answer=lambda prompt: "seen")
    keys = None if by is None else ["other"] if by == "levels" else by
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime._RUNTIME, "name_to_kept", {})
        result = run(engine, data, "agg", "List: {text}", by=keys, max_tokens=20)
    if keys is None:
        assert isinstance(result, str) or result is pd.NA
        return
    expected = data.groupby(keys, dropna=False, observed=True).size()
    assert len(result) == len(expected)
    assert [plain(key) for key in result.index.get_level_values(0)] == [
        plain(key) for key in expected.index.get_level_values(0)
    ]


def test_raised_errors_hold_the_failed_rows() -> None:
    engine = new_engine(abort_share=1.0)
    with pytest.raises(RowErrors) as raised:
        run(engine, pd.DataFrame({"text": ["a", None]}), "generate", "text", errors="raise", cache=False)
    assert raised.value.frame["text"].tolist() == ["a"]


@settings(max_examples=15, deadline=None)
@given(frames(max_rows=14), st.sampled_from(list(VERBS)), st.integers(1, 16), st.booleans(), st.integers(0, 1000))
def test_options_change_which_rows_run_and_where_and_no_answer(
    data: pd.DataFrame, name: str, sample: int, has_chat_template: bool, seed: int
) -> None:
    verb, options = VERBS[name]
    options = {**options, "into": "x", "truncate": ["error", "left", "right", "middle"][seed % 4]}

    def new(**faults: Any) -> FakeEngine:
        return new_engine(has_chat_template=has_chat_template, seed=seed, max_per_poll=5, **faults)

    whole = values_of(run(new(), data, verb, "{text}", cache=False, **options))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(runtime._RUNTIME, "name_to_kept", {})
        options["checkpoint"] = folder
        trial = values_of(run(new(), data, verb, "{text}", cache=False, sample=sample, random_state=seed, **options))
        flaky = run(new(abort_share=0.3), data, verb, "{text}", cache=False, background=True, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RowErrorsWarning)
            found = values_of(flaky.result())
        again = run(new(), data, verb, "{text}", cache=False, **options)
    assert all(row == expected or not any(row) for row, expected in zip(trial, whole, strict=True))
    num_asked = sum(any(row) for row in whole)
    assert sum(any(row) for row in trial) == min(sample, num_asked)
    assert all(row == expected or row[-1] for row, expected in zip(found, whole, strict=True))
    assert values_of(again) == whole
    num_stored = sum(any(row[:-1]) for row in found)
    assert again.attrs["pagednb"]["resumed"] + again.attrs["pagednb"]["duplicates"] >= num_stored

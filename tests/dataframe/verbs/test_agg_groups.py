"""``agg`` by groups: what ``by`` takes, which groups there are, and that each is answered apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.listening_engine import TEMPLATE, ListeningEngine, numbers_in, prompts_of, rows, use_fake

from pagednb.dataframe.accessor import frame


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ListeningEngine:
    return use_fake(monkeypatch)


def test_groups_are_answered_apart_and_in_order(engine: ListeningEngine) -> None:
    data = rows(40, padding=20).assign(team=[f"t{2 - number % 3}" for number in range(40)])
    result = frame(data).agg(TEMPLATE, by="team", token_budget=290, max_tokens=60)
    assert max(map(len, prompts_of(engine))) > 3
    assert result.index.tolist() == ["t0", "t1", "t2"] and result.index.name == "team"
    assert result.name == "aggregated"
    for team, answer in result.items():
        expected = [number for number in range(40) if data["team"].iloc[number] == team]
        assert answer == "".join(f"<{number}>" for number in expected)
    assert result.attrs["pagednb"]["failed"] == 0 and result.attrs["pagednb"]["verb"] == "agg"


@given(
    data=st.data(),
    sizes=st.lists(st.integers(0, 60), max_size=60),
    keys=st.lists(st.sampled_from(["a", "b", None, "c"]), min_size=60, max_size=60),
)
@settings(max_examples=40, deadline=None)
def test_random_rows_are_all_read(data: st.DataObject, sizes: list[int], keys: list[str | None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        engine = use_fake(patch, has_chat_template=data.draw(st.booleans()), seed=len(sizes))
        texts = [None if size % 7 == 6 else f"<{number}>" + "é" * (size // 2) for number, size in enumerate(sizes)]
        table = pd.DataFrame({"text": pd.array(texts, dtype="string"), "key": keys[: len(sizes)]})
        budget = data.draw(st.integers(900, 1200))
        result = frame(table).agg(TEMPLATE, by="key", token_budget=budget, max_tokens=200, truncate="error")
        expected = table.groupby("key", dropna=False)["text"].apply(lambda group: "".join(group.dropna()))
        assert result.index.equals(expected.index)
        for answer, text in zip(result, expected, strict=True):
            assert (answer if text else "") == numbers_in(text)
            assert pd.isna(answer) == (text == "")
        assert all(len(prompt.encode()) <= budget for prompts in prompts_of(engine) for prompt in prompts)


def test_columns_of_by_are_the_groups_and_stand_anywhere(engine: ListeningEngine) -> None:
    engine.think = lambda prompt: ""
    data = rows(4).assign(year=[2020, 2020, 2021, 2021], team="x")
    result = frame(data).agg(
        "{team} in {year:d}: {text} ({year}), {text!r} of {team}", by=["team", "year"], into="told"
    )
    assert result.index.names == ["team", "year"] and result.name == "told"
    assert min(prompts_of(engine)[0]) == "x in 2020: <0> (2020), '<0>'\n\n<1> (2020), '<1>' of x"


@pytest.mark.parametrize("by", ["team", ["team"], np.array([1, 0, 1]), [9, 9, 9], lambda label: label])
def test_by_is_what_groupby_takes(engine: ListeningEngine, by: Any) -> None:
    data = rows(3)
    result = frame(data).agg(TEMPLATE, by=by)
    assert result.index.equals(data.groupby(by)["text"].size().index)


@pytest.mark.parametrize(
    "keys",
    [
        [1, "x", 1, None, "x"],
        [True, False, None, True, False],
        [1.5, np.nan, 1.5, np.inf, 2.0],
        pd.Categorical(["q", None, "q", "p", None], categories=["z", "q", "p"]),
        pd.to_datetime(["2020", "2021", None, "2020", None]),
        pd.array([1, None, 1, 2, None], dtype="Int64"),
        pd.arrays.IntervalArray.from_tuples([(0, 1), (0, 1), (1, 2), (1, 2), (0, 1)]),
    ],
    ids=lambda keys: type(keys[0]).__name__,
)
def test_keys_of_any_kind(engine: ListeningEngine, keys: Any) -> None:
    data = rows(5).assign(key=pd.Series(keys, index=rows(5).index))
    result = frame(data).agg(TEMPLATE, by="key")
    expected = [group for _, group in data.groupby("key", dropna=False, observed=True)["text"]]
    assert len(result) == len(expected) == data["key"].nunique(dropna=False)
    for answer, group in zip(result, expected, strict=True):
        assert answer == numbers_in("".join(group))


def test_multiindexes_and_series(engine: ListeningEngine) -> None:
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 1), ("a", 2)], names=["x", "y"])
    series = pd.Series(["<0>", "<1>", "<2>"], index=index)
    assert frame(series).agg(TEMPLATE.replace("text", ""), by="x").to_dict() == {"a": "<0><2>", "b": "<1>"}
    both = frame(series).agg("All: {}", by=["y", "x"])
    assert both.to_dict() == {(1, "a"): "<0>", (1, "b"): "<1>", (2, "a"): "<2>"}


def test_keys_that_are_missing_make_a_group(engine: ListeningEngine) -> None:
    data = rows(5).assign(team=["b", None, "a", np.nan, "b"])
    result = frame(data).agg(TEMPLATE, by="team")
    assert result.tolist() == ["<2>", "<0><4>", "<1><3>"]
    assert result.index.isna().tolist() == [False, False, True]


def test_groups_without_texts_and_frames_without_rows(engine: ListeningEngine) -> None:
    data = rows(4).assign(team=pd.Categorical(["a", "a", "b", "b"], categories=["c", "b", "a"]))
    data["text"] = ["<0>", None, None, None]
    result = frame(data).agg(TEMPLATE, by="team")
    assert result.index.tolist() == ["b", "a"]
    assert result.isna().tolist() == [True, False] and result["a"] == "<0>"
    assert result.attrs["pagednb"]["missing"] == 3
    empty = frame(data.iloc[:0]).agg(TEMPLATE, by="team")
    assert len(empty) == 0 and empty.name == "aggregated"
    assert pd.isna(frame(data.iloc[:0]).agg(TEMPLATE))
    assert pd.isna(frame(data.iloc[1:]).agg(TEMPLATE))
    assert len(engine.calls) == 1

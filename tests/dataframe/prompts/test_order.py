"""Rows whose prompts begin alike run together; results stand where their rows do."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.fake_engine import FakeEngine

import pagednb
from pagednb.dataframe.prompts.order import by_shared_beginnings


def order(frame: pd.DataFrame, *names: str) -> list[int]:
    return by_shared_beginnings([frame[name] for name in names], np.arange(len(frame))).tolist()


def shuffled(num_rows: int, **options: list[object]) -> pd.DataFrame:
    choose = random.Random(0)
    return pd.DataFrame({name: [choose.choice(values) for _ in range(num_rows)] for name, values in options.items()})


@pytest.mark.parametrize("num_rows", [10, 999, 1001, 5000])
def test_rows_with_equal_leading_values_follow_each_other_in_order_of_appearance(num_rows: int) -> None:
    frame = shuffled(num_rows, region=["north", "south"], team=["a", "b"])
    frame["text"] = [f"row {row}" for row in range(num_rows)]
    ordered = order(frame, "region", "team", "text")
    groups = [tuple(pair) for pair in frame.iloc[ordered][["region", "team"]].to_numpy().tolist()]
    num_runs = 1 + sum(before != after for before, after in itertools.pairwise(groups))
    assert num_runs == len(set(groups))
    assert sorted(ordered) == list(range(num_rows))
    assert ordered[0] == 0
    for group in set(groups):
        rows = [row for row, each in zip(ordered, groups, strict=True) if each == group]
        assert rows == sorted(rows)


def test_values_that_cannot_be_compared_keep_their_order_wherever_they_stand(engine: FakeEngine) -> None:
    teams: list[object] = ["a", "b"] * 2500
    teams[1] = ["c"]  # not among the rows that are looked at first
    frame = pd.DataFrame({"team": teams})
    assert order(frame, "team") == list(range(5000))
    tags = pd.array([["a"], ["a"], None], dtype=pd.ArrowDtype(pa.list_(pa.string())))
    result = pagednb.frame(pd.DataFrame({"tags": tags})).generate("{tags}")
    assert result["generated"].notna().tolist() == [True, True, False]


def test_what_follows_a_field_of_its_own_values_decides_nothing() -> None:
    frame = shuffled(100, team=["a", "b"])
    frame["text"] = [f"row {row}" for row in range(100)]
    assert order(frame, "text", "team") == list(range(100))


@pytest.mark.parametrize(
    "values",
    [[["a"], ["b"]], [{"a": 1}, {"b": 2}], [None, "x", float("nan")], [1, "1", 1.0], [pd.Timestamp(0), pd.NaT]],
    ids=["lists", "dicts", "missing", "mixed", "times"],
)
def test_any_values_can_be_ordered_or_are_left_alone(values: list[object]) -> None:
    frame = shuffled(50, value=values)
    assert sorted(order(frame, "value")) == list(range(50))


def test_no_rows() -> None:
    assert order(pd.DataFrame({"team": []}), "team") == []


def test_a_verb_runs_in_that_order_and_answers_stand_by_their_rows(engine: FakeEngine) -> None:
    frame = shuffled(400, team=["north", "south", "east"])
    frame["text"] = [f"row {row}" for row in range(400)]
    result = pagednb.frame(frame).generate("For {team}: {text}", max_tokens=100)
    teams = [frame["team"][position] for (position, _), _ in engine.calls[0].submitted]
    assert sum(before != after for before, after in itertools.pairwise(teams)) == 2
    expected = [f"For {team}: {text}"[::-1] for team, text in frame.to_numpy().tolist()]
    assert result["generated"].tolist() == expected

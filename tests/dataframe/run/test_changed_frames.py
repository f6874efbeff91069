"""A run is about the frame as it was when the verb was called, whatever becomes of that frame meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pandas as pd
import polars as pl
import pytest
from support.fake_engine import FakeEngine, reverse

from pagednb.dataframe.accessor import frame
from pagednb.dataframe.results.last_run import last_run

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")  # deprecated since pandas 3.1, and used
TEXTS = ["d charged twice", "c crashes at login", "b love it", "a parcel?"]


def _change_cells(data: pd.DataFrame) -> None:
    data.loc[:, "text"] = "x"


def _rename_index(data: pd.DataFrame) -> None:
    data.index.name = "other"


CHANGES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "sort": lambda data: data.sort_values("text", inplace=True),
    "drop": lambda data: data.drop(index=[10], inplace=True),
    "new column": lambda data: data.insert(0, "more", 1),
    "cells": _change_cells,
    "index": _rename_index,
}


def tickets() -> pd.DataFrame:
    return pd.DataFrame({"text": TEXTS}, index=pd.Index([10, 11, 12, 13], name="id"))


def expected() -> pd.DataFrame:
    return tickets().assign(generated=pd.array([reverse(text) for text in TEXTS], dtype=tickets()["text"].dtype))


def check(result: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(result, expected(), check_dtype=False)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_while_a_job_runs(change: Callable[[pd.DataFrame], Any], engine: FakeEngine) -> None:
    may_go_on = threading.Event()

    def wait() -> None:
        may_go_on.wait(10)

    engine.on_submit = wait
    data = tickets()
    job = frame(data).generate("text", background=True, cache=False)
    change(data)
    may_go_on.set()
    check(job.result(timeout=10))
    check(job.partial())


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_after_the_run(change: Callable[[pd.DataFrame], Any], engine: FakeEngine) -> None:
    data = tickets()
    frame(data).generate("text")
    change(data)
    check(last_run().frame)


def test_a_changed_series(engine: FakeEngine) -> None:
    data = tickets()["text"].copy()  # before pandas 3 a frame's column cannot be sorted in place
    frame(data).generate()
    data.sort_values(inplace=True)
    data.iloc[0] = "x"
    pd.testing.assert_series_equal(last_run().frame, expected()["generated"].rename("text"), check_dtype=False)


def test_a_changed_frame_of_polars(engine: FakeEngine) -> None:
    data = pl.DataFrame({"text": TEXTS})
    frame(data).generate("text")
    data[0, "text"] = "x"
    data.insert_column(0, pl.Series("more", range(4)))
    assert last_run().frame.to_dict(as_series=False) == {"text": TEXTS, "generated": [reverse(t) for t in TEXTS]}


def test_a_changed_series_of_polars(engine: FakeEngine) -> None:
    data = pl.Series("text", TEXTS)
    frame(data).generate()
    data[0] = "x"
    data.append(pl.Series(["more"]))
    assert last_run().frame.to_list() == [reverse(text) for text in TEXTS]


def test_a_frame_changed_while_it_is_reviewed() -> None:
    data = pd.DataFrame({"text": TEXTS, "team": pd.Categorical(["a", "b", "a", "b"])})
    review = frame(data).review("team", below=None, columns=["text"])
    data.sort_values("text", inplace=True)
    review.accept_all()
    assert review.frame["text"].tolist() == TEXTS
    assert review.frame["team_reviewed"].tolist() == ["a", "b", "a", "b"]

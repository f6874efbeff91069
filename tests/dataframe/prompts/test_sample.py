"""``sample=``: a trial run of some rows, whose answers the full run takes over."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.fake_engine import FakeEngine, reverse

from pagednb.dataframe.accessor import frame
from pagednb.errors import OptionError

TEXTS = [None if row % 7 == 3 else f"ticket {row}" for row in range(100)]
TICKETS = pd.DataFrame({"text": TEXTS}, index=[5] * 100)


def num_computed(engine: FakeEngine) -> int:
    return sum(len(call.submitted) for call in engine.calls)


def test_only_the_sample_runs_and_the_others_are_missing(engine: FakeEngine) -> None:
    result = frame(TICKETS).generate("text", sample=20)["generated"]
    assert num_computed(engine) == result.notna().sum() == 20
    assert len(result) == 100
    assert all(pd.isna(answer) or answer == reverse(text) for answer, text in zip(result, TEXTS, strict=True))


def test_figures_tell_missing_rows_from_those_left_out(engine: FakeEngine) -> None:
    figures = frame(TICKETS).generate("text", sample=20).attrs["pagednb"]
    num_missing = TEXTS.count(None)
    assert figures["rows"] == 100
    assert figures["missing"] == num_missing
    assert figures["not_sampled"] == 100 - num_missing - 20
    assert figures["computed"] == 20


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_full_run_computes_only_the_rest(engine: FakeEngine, temperature: float, tmp_path: pathlib.Path) -> None:
    # answers that are drawn anew each time are taken over from a checkpoint, the others from the cache
    options: dict[str, Any] = {"temperature": temperature, "checkpoint": None if temperature == 0 else tmp_path / "run"}
    frame(TICKETS).generate("text", sample=20, **options)
    full = frame(TICKETS).generate("text", **options)
    num_present = 100 - TEXTS.count(None)
    assert num_computed(engine) == num_present
    assert full["generated"].notna().sum() == num_present
    assert full.attrs["pagednb"]["reused" if temperature == 0 else "resumed"] == 20


def test_the_same_numbers_choose_the_same_rows(engine: FakeEngine) -> None:
    chosen = [
        frame(TICKETS).generate("text", sample=20, random_state=state)["generated"].notna().tolist()
        for state in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_series_has_it_too(engine: FakeEngine) -> None:
    assert frame(TICKETS["text"]).generate(sample=np.int64(3)).notna().sum() == 3


def test_a_large_sample_is_all_rows(engine: FakeEngine) -> None:
    result = frame(TICKETS).generate("text", sample=1000)
    assert result["generated"].notna().tolist() == TICKETS["text"].notna().tolist()
    assert result.attrs["pagednb"]["not_sampled"] == 0


@pytest.mark.parametrize(
    "options", [{"sample": 0}, {"sample": 0.1}, {"sample": True}, {"sample": "20"}, {"sample": 2, "random_state": -1}]
)
def test_what_is_no_sample_is_refused(engine: FakeEngine, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="is not valid"):
        frame(TICKETS).generate("text", **options)
    assert not engine.calls

"""``score``: numbers of named answers, what stays of them in a result, and what makes no scale."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.fake_engine import FakeEngine
from support.tickets import LABELS, TICKETS, share

from pagednb.dataframe.accessor import frame
from pagednb.errors import OptionError


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

"""Any frame, any failures: shape, index, order and dtypes hold, and every row has its own answer."""

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_engine import FakeEngine, reverse
from support.random_frames import frames

from pagednb import runtime
from pagednb.dataframe.accessor import frame
from pagednb.dataframe.results.columns import TEXT_DTYPE
from pagednb.errors import RowErrors, RowErrorsWarning

MAX_MODEL_LEN = 120


def expected_of(text: Any, other: Any, uses_other: bool) -> tuple[str | None, bool]:
    """The answer of a row by the documented rules alone, and whether the row fails."""
    if pd.isna(text) or (uses_other and pd.isna(other)):
        return None, False
    if isinstance(text, bytes):
        return None, True
    prompt = f"{text}: {other}" if uses_other else str(text)
    try:
        length = len(prompt.encode())
    except UnicodeEncodeError:
        return None, True
    is_bad = not prompt.strip() or length >= MAX_MODEL_LEN
    return (None, True) if is_bad else (reverse(prompt), False)


@settings(max_examples=150, deadline=None)
@given(frames(), st.booleans(), st.booleans(), st.integers(0, 1000))
def test_every_frame_comes_back_whole(data: pd.DataFrame, uses_other: bool, is_greedy: bool, seed: int) -> None:
    engine = FakeEngine(max_model_len=MAX_MODEL_LEN, max_per_poll=3, seed=seed)
    rows = list(zip(data["text"], data["other"], strict=True))
    expected = [expected_of(text, other, uses_other) for text, other in rows]
    before = data.copy(deep=True)
    template = "{text}: {other}" if uses_other else "text"
    options: dict[str, Any] = {"temperature": 0.0 if is_greedy else 1.0, "max_tokens": 1000, "progress": False}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patch.setattr(runtime, "get_engine", lambda: engine)
        result = frame(data).generate(template, into="out", **options)
        if any(is_bad for _, is_bad in expected):
            with pytest.raises(RowErrors) as raised:
                frame(data).generate(template, into="out", errors="raise", **options)
            assert len(raised.value.frame) == sum(is_bad for _, is_bad in expected)
        series = frame(data["text"]).generate(**options)
    pd.testing.assert_frame_equal(data, before)
    pd.testing.assert_frame_equal(result[["text", "other"]], before)
    assert [None if pd.isna(text) else text for text in result["out"]] == [text for text, _ in expected]
    assert result["out"].dtype == series.dtype == TEXT_DTYPE
    pd.testing.assert_index_equal(series.index, before.index)
    assert series.name == "text"
    num_failed = sum(is_bad for _, is_bad in expected)
    assert ("out_error" in result) == (num_failed > 0)
    if num_failed:
        assert result["out_error"].notna().tolist() == [is_bad for _, is_bad in expected]
        assert result["out_error"].dtype == TEXT_DTYPE
    assert {warning.category for warning in caught} <= {RowErrorsWarning}
    check_figures(result.attrs["pagednb"], expected, is_greedy)


def check_figures(figures: dict[str, Any], expected: list[tuple[str | None, bool]], is_greedy: bool) -> None:
    answers = [text for text, _ in expected if text is not None]
    assert figures["rows"] == len(expected)
    assert figures["failed"] == sum(is_bad for _, is_bad in expected)
    assert figures["missing"] == len(expected) - len(answers) - figures["failed"]
    assert figures["computed"] + figures["reused"] == (len(set(answers)) if is_greedy else len(answers))

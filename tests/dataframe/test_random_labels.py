"""Any frame, any labels, any failures: shape, order and dtypes hold, and every probability is its row's own."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_engine import FakeEngine, fake_logprob
from support.random_frames import frames

from pagednb import runtime
from pagednb.dataframe.accessor import frame
from pagednb.dataframe.results.columns import TEXT_DTYPE
from pagednb.errors import RowErrors, RowErrorsWarning

END = 0
LABELS = st.lists(
    st.text(st.sampled_from("ab é日😀"), min_size=1, max_size=4).filter(lambda text: not text.isspace()),
    min_size=2,
    max_size=6,
    unique=True,
)


def brute_force(prompt: str, labels: Sequence[str]) -> list[float]:
    """The probability of each label where at every place only labels may go on; tokens are bytes."""
    paths = [label.encode() for label in labels]
    start = prompt.encode()
    probabilities = []
    for path in paths:
        logprob = 0.0
        for place in range(len(path) + 1):
            others = [other for other in paths if other[:place] == path[:place]]
            ways = {other[place] if place < len(other) else END for other in others}
            if len(ways) > 1:
                logprobs = {way: fake_logprob(start + path[:place], way) for way in ways}
                total = math.log(sum(map(math.exp, logprobs.values())))
                logprob += logprobs[path[place] if place < len(path) else END] - total
        probabilities.append(math.exp(logprob))
    return probabilities


def state_of(cell: Any, limit: int) -> str:
    """What must become of a row, by the documented rules alone."""
    if not isinstance(cell, bytes) and pd.isna(cell):
        return "missing"
    if isinstance(cell, bytes):
        return "failed"
    try:
        num_tokens = len(f"{cell}?".encode())
    except UnicodeEncodeError:
        return "failed"
    return "failed" if num_tokens >= limit else "answered"


def run(engine: FakeEngine, data: Any, verb: str, **options: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", RowErrorsWarning)
        patch.setattr(runtime, "get_engine", lambda: engine)
        patch.setattr(runtime._RUNTIME, "name_to_kept", {})
        return getattr(frame(data), verb)("{text}?" if isinstance(data, pd.DataFrame) else "{}?", **options)


def check_kept(data: pd.DataFrame, result: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(result[list(data.columns)], data)
    pd.testing.assert_index_equal(result.index, data.index)


@settings(max_examples=80, deadline=None)
@given(frames(), LABELS, st.integers(0, 1000))
def test_every_label_is_its_rows_own(data: pd.DataFrame, labels: list[str], seed: int) -> None:
    words = "Answer with one of these labels:\n" + "".join(f"- {label}\n" for label in labels) + "\n"
    limit = len(words.encode()) + 100
    engine = FakeEngine(max_model_len=limit, max_per_poll=3, seed=seed)
    before = data.copy(deep=True)
    result = run(engine, data, "classify", labels=labels, probs=True)
    check_kept(before, result)
    assert result["label"].cat.categories.tolist() == labels
    assert not result["label"].cat.ordered and result["label"].cat.categories.dtype == TEXT_DTYPE
    assert (result["label_confidence"].dtype, result["label_probs"].dtype) == (np.float32, object)
    for row, cell in enumerate(data["text"]):
        state = state_of(cell, 100)
        label, confidence = result["label"].iloc[row], result["label_confidence"].iloc[row]
        found = result["label_probs"].iloc[row]
        if state == "answered" and found is not None:
            expected = brute_force(f"{words}{cell}?", labels)
            assert list(found) == labels
            np.testing.assert_allclose(list(found.values()), expected, rtol=1e-9)
            assert label == labels[int(np.argmax(list(found.values())))]
            assert confidence == np.float32(max(found.values()))
            continue
        assert pd.isna(label) and np.isnan(confidence) and found is None
        # with a label's first tokens a row may be too long that was not so alone
        is_long = state == "answered" and len(f"{cell}?".encode()) + 12 >= 100
        assert state == "missing" or pd.notna(result["label_error"].iloc[row])
        assert state != "answered" or is_long
    assert ("label_error" in result) == any(state_of(cell, 100) == "failed" for cell in data["text"])


@settings(max_examples=60, deadline=None)
@given(frames(), st.sampled_from(["one", "many", "filter", "score"]), st.floats(0, 1), st.integers(0, 1000))
def test_failures_of_any_kind_change_no_shape(data: pd.DataFrame, kind: str, share: float, seed: int) -> None:
    engine = FakeEngine(max_model_len=160, max_per_poll=4, seed=seed, abort_share=share)
    options: dict[str, Any] = {
        "one": {"labels": ["a", "ab", "b"], "probs": True, "min_confidence": 0.4},
        "many": {"labels": ["a", "ab", "b"], "multi": True, "probs": True},
        "filter": {"confidence": True},
        "score": {"scale": (9, 11)},
    }[kind]
    verb = "classify" if kind in ("one", "many") else kind
    dtypes = {
        "one": {"x": "category", "x_confidence": "float32", "x_probs": "object"},
        "many": {"x": "object", "x_confidence": "float32", "x_probs": "object"},
        "filter": {"x": "boolean", "x_confidence": "float32"},
        "score": {"x": "Float64", "x_probs": "object"},
    }[kind]
    before = data.copy(deep=True)
    result = run(engine, data, verb, into="x", **options)
    check_kept(before, result)
    assert {name: str(result[name].dtype) for name in dtypes} == dtypes
    series = run(engine, data["text"], verb, into="x", **options)
    pd.testing.assert_index_equal(series.index, before.index)
    assert {name: str(series[name].dtype) for name in dtypes} == dtypes
    figures = result.attrs["pagednb"]
    reasons = result["x_error"] if "x_error" in result else pd.Series([None] * len(data), index=data.index)
    is_missing = [not isinstance(cell, bytes) and bool(pd.isna(cell)) for cell in data["text"]]
    for row in range(len(data)):
        value = result["x"].iloc[row]
        has_value = isinstance(value, list) or not pd.isna(value)
        assert has_value == (not is_missing[row] and pd.isna(reasons.iloc[row]))
    assert figures["rows"] == len(data)
    assert figures["missing"] == sum(is_missing)
    assert figures["failed"] <= reasons.notna().sum()
    if figures["failed"]:
        with pytest.raises(RowErrors):
            run(FakeEngine(max_model_len=160, abort_share=1.0), data, verb, into="x", errors="raise", **options)

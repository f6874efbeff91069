"""Random reviews against a dict that is copied before each step: the frame always holds what was decided."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from pagednb import runtime
from pagednb.dataframe.review.review import Review

LABELS = ["a", "b", "c"]
ROWS = st.lists(
    st.tuples(st.sampled_from("vwxyz"), st.sampled_from([*LABELS, None]), st.sampled_from([0.1, 0.5, 0.9, None])),
    max_size=8,
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["accept", "relabel", "all", "undo", "clear", "cell again", "new kernel"]),
        st.integers(0, 7),
        st.sampled_from(LABELS),
    ),
    max_size=12,
)


def step(review: Review, what: str, row: int, label: str) -> None:
    if what == "accept":
        review.accept_all([row])
    elif what == "relabel":
        review.relabel(row, label)
    elif what == "all":
        review.accept_all()
    elif what == "undo":
        review.undo()
    else:
        review.clear()


def expected_after(decided: dict[str, str], suggested: dict[str, Any], what: str, text: str, label: str) -> Any:
    """What a step makes of the decisions, rows known by their texts."""
    if what == "relabel":
        return decided | {text: label}
    if what == "clear":
        return {other: kept for other, kept in decided.items() if other not in suggested}
    accepted = suggested if what == "all" else {text: suggested[text]}
    return {other: label for other, label in accepted.items() if label is not None} | decided


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, steps=STEPS, below=st.sampled_from([0.3, 0.7, None]), is_saved=st.booleans())
def test_the_frame_holds_what_was_decided(rows: list[Any], steps: list[Any], below: Any, is_saved: bool) -> None:
    data = pd.DataFrame(rows, columns=["text", "team", "team_confidence"])
    data["team"] = pd.Categorical(data["team"], categories=LABELS)
    runtime._RUNTIME.name_to_kept.pop("review_decisions", None)
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"below": below, "save": pathlib.Path(folder) / "file" if is_saved else None}
        review = Review(data, "team", **options)
        suggested = {review.text(row): review.label(row) for row in range(len(review))}
        assert len(suggested) == len(review)
        history: list[dict[str, str]] = [{}]
        for what, row, label in steps:
            if what in ("cell again", "new kernel"):
                if what == "new kernel":
                    runtime._RUNTIME.name_to_kept.pop("review_decisions", None)
                    history = [history[-1]] if is_saved else [{}]  # what can be undone ends with the kernel
                elif is_saved:
                    history = [history[-1]]
                review = Review(data.copy(), "team", **options)
            elif row < len(review):
                step(review, what, row, label)
                if what == "undo":
                    history = history[:-1] or [history[0]]
                    continue
                after = expected_after(history[-1], suggested, what, review.text(row), label)
                history += [after] if after != history[-1] else []
            held = [None if pd.isna(decided) else decided for decided in review.frame["team_reviewed"]]
            assert held == [history[-1].get(text) for text in data["text"]]
            assert review.num_reviewed == len(history[-1])
            assert [review.label(i) for i in range(len(review))] == [
                history[-1].get(text, label) for text, label in suggested.items()
            ]

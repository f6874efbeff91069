"""The model behind ``review``: which rows, in which order, what is written, and that no decision is lost."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pagednb import runtime
from pagednb.dataframe.accessor import frame
from pagednb.dataframe.results.columns import TEXT_DTYPE
from pagednb.dataframe.results.record import RUNS
from pagednb.dataframe.review.review import Review
from pagednb.errors import OptionError

TEAM = pd.Categorical(["a", "b", None, "a", "b"], categories=["b", "a", "c"])
DATA = pd.DataFrame(
    {"text": list("vwxyz"), "team": TEAM, "team_confidence": pd.array([0.9, 0.4, None, 0.2, 0.7], dtype="Float32")},
    index=[1, 1, 1, 2, 2],
)


@pytest.fixture(autouse=True)
def new_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime._RUNTIME, "name_to_kept", {})


def reviewed(frame: pd.DataFrame, into: str = "team") -> list[Any]:
    return [None if pd.isna(label) else label for label in frame[f"{into}_reviewed"]]


def test_rows_without_label_come_first_then_the_least_certain() -> None:
    review = frame(DATA).review("team")
    assert [review.text(row) for row in range(len(review))] == ["x", "y", "w"]
    assert [review.label(row) for row in range(3)] == [None, "a", "b"]
    assert review.confidence(0) is None and review.confidence(1) == pytest.approx(0.2)
    assert review.rows.columns.tolist() == ["text", "label", "confidence", "reviewed"]
    assert len(Review(DATA, "team", below=None)) == 5
    assert len(Review(DATA, "team", below=0.71)) == 4  # 0.7 itself is not below 0.7, as float32 either


def test_decisions_are_written_in_a_copy() -> None:
    before = DATA.copy(deep=True)
    review = Review(DATA, "team")
    review.relabel(0, "c")
    review.accept(2)
    assert (review.is_changed(0), review.is_changed(1), review.is_changed(2)) == (True, False, False)
    assert repr(review) == "<pagednb review of 'team': 2 of 3 rows reviewed>"
    assert "2 of 3 rows reviewed" in review._repr_html_() and review._repr_html_().count("<tr>") == 1 + 3
    result = review.frame
    pd.testing.assert_frame_equal(DATA, before)
    assert reviewed(result) == [None, "b", "c", None, None]
    assert result["team_reviewed"].dtype == DATA["team"].dtype and result.index.equals(DATA.index)
    assert result["team_reviewed"].fillna(result["team"]).tolist() == ["a", "b", "c", "a", "b"]


def test_final_labels_are_one_call_away() -> None:
    categories = pd.CategoricalDtype(pd.Index(["b", "a", "c"], dtype=TEXT_DTYPE))  # as classify makes them
    review = Review(DATA.assign(team=DATA["team"].astype(categories)), "team")
    review.relabel(0, "c")
    final = review.frame["team_reviewed"].fillna(review.frame["team"])
    assert final.tolist() == ["a", "b", "c", "a", "b"] and final.dtype == categories
    review = Review(DATA, "team", labels=["a", "new"])
    review.relabel(0, "new")
    final = review.frame["team_reviewed"].astype(object).fillna(review.frame["team"])
    assert final.tolist() == ["a", "b", "new", "a", "b"]


def test_the_same_cell_again_finds_every_decision() -> None:
    Review(DATA, "team").relabel(0, "c")
    again = Review(DATA.copy(), "team")
    assert [again.is_reviewed(row) for row in range(3)] == [True, False, False]
    other_rows = DATA.iloc[[4, 2, 3]].reset_index(drop=True)  # rows are known by what they show
    assert reviewed(Review(other_rows, "team", below=None).frame) == [None, "c", None]
    assert reviewed(Review(DATA, "team", below=0.01).frame) == [None, None, "c", None, None]
    assert reviewed(Review(DATA, "team", labels=["a", "b"]).frame) == [None] * 5  # c is no label of this one
    assert reviewed(Review(DATA, "team").frame) == [None, None, "c", None, None]


def test_a_new_kernel_goes_on_from_the_column() -> None:
    review = Review(DATA, "team")
    review.relabel(0, "c")
    saved = review.frame
    runtime._RUNTIME.name_to_kept.clear()
    again = Review(saved, "team")
    assert again.is_reviewed(0) and again.num_reviewed == 1
    again.relabel(1, "b")
    assert reviewed(again.frame) == [None, None, "c", "b", None]


def test_neither_later_decisions_nor_edits_of_the_column_are_lost() -> None:
    review = Review(DATA, "team")
    review.relabel(0, "c")
    older = review.frame  # taken too early
    review.relabel(0, "a")
    review.accept(1)
    assert reviewed(Review(older, "team").frame) == [None, None, "a", "a", None]
    edited = review.frame
    edited.iloc[2, edited.columns.get_loc("team_reviewed")] = "b"
    assert reviewed(Review(edited, "team").frame) == [None, None, "b", "a", None]


def test_a_label_of_the_column_stays_a_choice() -> None:
    review = Review(DATA, "team")
    review.relabel(0, "c")
    runtime._RUNTIME.name_to_kept.clear()
    again = Review(review.frame, "team", labels=["a", "b"])
    assert again.labels == ["a", "b", "c"] and reviewed(again.frame) == [None, None, "c", None, None]


def test_undo_takes_back_step_by_step() -> None:
    review = Review(DATA, "team")
    review.relabel(1, "b")
    review.relabel(1, "b")  # no step
    review.accept_all([0, 1, 2])
    assert [review.is_reviewed(row) for row in range(3)] == [False, True, True]  # row 0 has no label to accept
    assert review.undo() == 2
    assert [review.is_reviewed(row) for row in range(3)] == [False, True, False]
    review.clear()
    assert review.num_reviewed == 0
    assert review.undo() == 1 and review.label(1) == "b"
    assert review.undo() == 1 and review.label(1) == "a" and not review.is_reviewed(1)
    assert review.undo() is None
    review.accept_all()
    assert review.num_reviewed == 2


def test_equal_rows_are_reviewed_once() -> None:
    review = Review(DATA.iloc[[3, 1, 3]], "team")
    assert len(review) == 2
    review.relabel(0, "c")
    assert reviewed(review.frame) == ["c", None, "c"]


def test_it_shows_what_the_model_saw() -> None:
    data = DATA.assign(gold=["c", "c", None, "c", "c"])
    data["text"] = ["v", None, None, "y", "z"]
    data["n"] = [1, 2, None, 4, 5]
    assert Review(data, "team").text(0) == "text: y\ngold: c\nn: 4.0"
    data.attrs[RUNS] = {"team": {"template": "{n:.0f}: {text}"}}
    review = Review(data, "team")
    assert [review.text(row) for row in range(len(review))] == ["n: 4.0\ntext: y", "n: 2.0"]  # none for NA alone
    data.attrs[RUNS] = {"team": {"template": "{text}"}}
    assert Review(data, "team").text(0) == "y"
    assert Review(data.rename(columns={"text": "words"}), "team").text(0).startswith("words: y\ngold")
    assert Review(data, "team", columns=["n"]).text(0) == "4.0"


def test_labels_need_not_be_categories_or_text() -> None:
    data = pd.DataFrame({"text": ["x", "y"], "out": ["n", None]})
    review = Review(data, "out", below=None, labels=["m", "n"])
    assert [review.label(row) for row in range(2)] == [None, "n"]
    review.relabel(0, "m")
    assert reviewed(review.frame, "out") == [None, "m"]
    flags = pd.DataFrame(
        {"text": list("ab"), "ok": pd.array([True, None], dtype="boolean"), "ok_confidence": [0.6, 0.1]}
    )
    review = Review(flags, "ok")
    review.relabel(0, False)
    assert review.frame["ok_reviewed"].dtype == "boolean" and reviewed(review.frame, "ok") == [None, False]
    ordered = pd.Categorical([1, 3], categories=[1, 2, 3], ordered=True)
    review = Review(pd.DataFrame({"text": list("ab"), "stars": ordered}), "stars", below=None, labels=[1, 2, 3, 9])
    review.relabel(1, 9)
    dtype = review.frame["stars_reviewed"].dtype
    assert dtype.ordered and dtype.categories.tolist() == [1, 2, 3, 9]


def test_the_confidence_of_a_filter_is_that_of_yes() -> None:
    data = pd.DataFrame({"text": list("abcd"), "ok": pd.array([True, False, False, None], dtype="boolean")})
    review = Review(data.assign(ok_confidence=[0.9, 0.02, 0.45, None]), "ok")
    assert [review.text(row) for row in range(len(review))] == ["d", "c"]
    assert review.confidence(1) == pytest.approx(0.55)


def test_empty_frames_and_columns_with_levels() -> None:
    twice = pd.concat([DATA[["text"]], DATA], axis=1)
    assert Review(twice, "team").text(0) == "text: x\ntext: x"
    assert len(Review(DATA.iloc[:0], "team")) == 0 and Review(DATA.iloc[:0], "team").frame.shape == (0, 4)
    levels = DATA.set_axis(pd.MultiIndex.from_product([DATA.columns, [""]]), axis=1)
    review = Review(levels, "team")
    review.accept(1)
    assert review.frame[("team_reviewed", "")].tolist()[3] == "a"


def test_many_rows_take_no_time() -> None:
    rows = np.random.default_rng(0)
    data = pd.DataFrame(
        {"text": rows.integers(0, 10**9, 100_000), "team": "a", "team_confidence": rows.random(100_000)}
    )
    review = Review(data, "team", below=0.001)
    review.accept_all()
    assert review.frame["team_reviewed"].notna().sum() == len(review)


def test_a_file_has_every_decision_as_it_is_made(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "reviews" / "team.jsonl"
    review = Review(DATA, "team", save=path)
    review.relabel(0, "c")
    review.relabel(1, "b")
    review.undo()
    review.accept(2)
    runtime._RUNTIME.name_to_kept.clear()
    assert reviewed(Review(DATA, "team", save=str(path)).frame) == [None, "b", "c", None, None]
    content = path.read_bytes()
    for cut in range(len(content)):  # whatever ended the kernel, lines before the cut are there
        path.write_bytes(content[:cut])
        num_lines = content[: cut + 1].count(b"\n")
        again = Review(DATA, "team", save=path)
        assert again.num_reviewed == (0, 0, 1, 2, 1, 2)[num_lines]
        again.clear()
        assert Review(DATA, "team", save=path).num_reviewed == 0


def test_a_file_of_another_review_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "team.jsonl"
    Review(DATA, "team", save=path)
    with pytest.raises(OptionError, match="not this review's file: it is one of 'team'"):
        Review(DATA.assign(other=1), "team", save=path)
    for content in ("notes\n", "[1]\n"):
        path.write_text(content)
        with pytest.raises(OptionError, match="it is none"):
            Review(DATA, "team", save=path)
        assert path.read_text() == content
    with pytest.raises(OptionError, match="cannot be used"):
        Review(DATA, "team", save=tmp_path)
    with pytest.raises(OptionError, match="is a tuple"):
        Review(DATA, "team", labels=[("a",)], save=tmp_path / "other.jsonl")


@pytest.mark.parametrize(
    ("into", "options", "message"),
    [
        ("tean", {}, r"no column 'tean'.*'team'"),
        ("text", {}, "no column 'text_confidence'"),
        ("team", {"below": 70}, "below=70"),
        ("team", {"columns": "text"}, "list of columns"),
        ("team", {"columns": ["txt"]}, "no column 'txt'.*'text'"),
        ("many", {"below": None}, "holds lists"),
    ],
)
def test_mistakes_end_as_sentences(into: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Review(DATA.assign(many=[["a"], ["b"], [], [], []]), into, **options)


def test_what_cannot_be_decided_is_refused() -> None:
    review = Review(DATA, "team")
    with pytest.raises(OptionError, match="no label to accept"):
        review.accept(0)
    with pytest.raises(OptionError, match="'d' is none of the labels"):
        review.relabel(0, "d")


@pytest.mark.parametrize("row", [3, 99, -1])
def test_rows_that_are_not_there_are_refused(row: int) -> None:
    review = Review(DATA, "team")
    for act in (review.accept, review.label, review.text, review.is_reviewed, lambda row: review.relabel(row, "a")):
        with pytest.raises(OptionError, match=f"no row {row} in this review"):
            act(row)
    assert review.num_reviewed == 0


def test_a_lone_surrogate_is_shown_and_decided_about() -> None:
    data = pd.DataFrame({"text": pd.Series(["a\ud800", "b", "a\ud800"], dtype=object), "team": TEAM[:3]})
    review = frame(data).review("team", below=None)
    assert {review.text(row) for row in range(len(review))} == {"b", "a\ufffd"}
    for row in range(len(review)):
        review.relabel(row, "c")
    review._repr_html_().encode()
    assert reviewed(review.frame) == ["c", "c", "c"] and review.frame["text"][0] == "a\ud800"

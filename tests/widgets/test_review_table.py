"""The review table: what is pressed reaches the model, the page follows it, and little is sent to the browser."""

from __future__ import annotations

import itertools
from typing import Any

import ipywidgets
import pandas as pd
import pytest

from pagednb import runtime
from pagednb.dataframe.review.review import Review
from pagednb.widgets.review_table import MAX_CHARACTERS, PAGE_ROWS, ReviewTable


@pytest.fixture(autouse=True)
def new_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime._RUNTIME, "name_to_kept", {})


def review(num_rows: int) -> Review:
    data = {"text": [f"<b>{row}" for row in range(num_rows)], "team": "a", "team_confidence": 0.5}
    return Review(pd.DataFrame(data), "team", labels=["a", "b"])


def test_buttons_and_choices_decide() -> None:
    model = review(3)
    table = ReviewTable(model)
    line = table.lines[1]
    assert "&lt;b&gt;1" in line.said.value and "50.0%" in line.said.value and "<b>1" not in line.said.value
    line.button.click()
    assert line.button.description == "✓ accepted" and table.lines[1] is line
    table.lines[2].choice.value = "b"
    assert table.lines[2].button.description == "✓ changed"
    table.lines[2].choice.value = None  # the empty choice decides nothing
    assert table.lines[2].choice.value == "b"
    assert table.status.value == "2 of 3 reviewed · page 1 of 1" and table.bar.value == 2
    assert [None if pd.isna(x) else x for x in model.frame["team_reviewed"]] == [None, "a", "b"]
    assert table.lines[0].choice.value == "a"


def test_a_page_is_accepted_turned_and_taken_back() -> None:
    model = review(PAGE_ROWS + 2)
    table = ReviewTable(model)
    assert table.back.disabled and not table.forward.disabled
    table.lines[0].choice.value = "b"
    table.accept_page.click()
    assert model.num_reviewed == PAGE_ROWS and model.label(0) == "b"
    assert len(table.rows.children) == 2 and table.forward.disabled
    table.undo.click()
    assert table.page == 0 and model.num_reviewed == 1
    assert table.lines[0].choice.value == "b" and table.lines[0].button.description == "✓ changed"
    assert table.lines[1].button.description == "Accept"
    table.undo.click()
    assert model.num_reviewed == 0 and table.lines[0].choice.value == "a"
    table.undo.click()


def test_drawing_a_page_decides_nothing() -> None:
    model = review(3 * PAGE_ROWS)
    table = ReviewTable(model)
    model.relabel(PAGE_ROWS, "b")
    table.forward.click()
    table.forward.click()  # the lines of the first page draw the third
    assert model.num_reviewed == 1


def test_a_late_click_meets_the_row_it_was_meant_for() -> None:
    model = review(2 * PAGE_ROWS)
    table = ReviewTable(model)
    seen = table.lines[3]
    table.forward.click()
    seen.button.click()
    assert model.is_reviewed(3) and not model.is_reviewed(PAGE_ROWS + 3)


def test_turning_a_page_makes_no_widgets_and_sends_little(monkeypatch: pytest.MonkeyPatch) -> None:
    num_made, num_sent = itertools.count(), itertools.count()
    table = ReviewTable(review(4 * PAGE_ROWS))
    monkeypatch.setattr(ipywidgets.Widget, "open", lambda *_: next(num_made))
    monkeypatch.setattr(ipywidgets.Widget, "send_state", lambda *_, **__: next(num_sent))
    table.forward.click()
    table.forward.click()
    assert next(num_made) == 0
    assert next(num_sent) <= 2 * (2 * PAGE_ROWS + 10)


def test_a_row_without_label_cannot_be_accepted_and_long_texts_are_cut() -> None:
    model = Review(pd.DataFrame({"text": ["x" * 10**6], "team": [None]}), "team", below=None, labels=["a"])
    table = ReviewTable(model)
    table.lines[0].button.click()
    assert not model.is_reviewed(0) and table.lines[0].button.disabled
    table.lines[0].choice.value = "a"
    assert not table.lines[0].button.disabled and table.lines[0].button.description == "✓ changed"
    assert len(table.lines[0].said.value) < MAX_CHARACTERS + 200


def test_nothing_to_review() -> None:
    table = ReviewTable(review(0))
    assert table.rows.children == () and table.forward.disabled and table.status.value == "Nothing to review."
    for button in (table.accept_page, table.undo, table.back, table.forward):
        button.click()


def test_the_last_expression_of_a_cell_shows_it() -> None:
    model: Any = review(1)
    bundle = model._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"] == "<pagednb review of 'team': 0 of 1 rows reviewed>"
    assert model.table is model.table

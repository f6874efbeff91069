"""The table of ``df.llm.review``: a page of rows, each with an Accept button, a choice of labels and its text.

Tab moves on, Space accepts, the first letter of a label chooses it. The lines of a page are made once and drawn anew
when the page turns, so turning sends a few values and makes no widgets. Knows no pandas: it draws a ``ReviewModel`` and
tells it what was pressed; the kernel may call its handlers on any thread.
"""

from __future__ import annotations

import html
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Protocol

import ipywidgets as widgets

from pagednb.widgets.heard import heard_where_sent

PAGE_ROWS = 20
MAX_CHARACTERS = 2_000
"""Of a text; more than a person reads, and a page of long documents does not choke the browser."""

_TEXT_STYLE = "white-space:pre-wrap;max-height:9em;overflow:auto;line-height:1.4"  # no colours: the theme's are right


class ReviewModel(Protocol):
    """What the table needs of a review; rows are counted from 0 in the order of the review."""

    labels: Sequence[Any]

    def __len__(self) -> int: ...

    def text(self, row: int) -> str:
        """What a person reads."""

    def label(self, row: int) -> Hashable | None:
        """The label of now, None without one."""

    def confidence(self, row: int) -> float | None:
        """The model's confidence."""

    def is_reviewed(self, row: int) -> bool:
        """Whether somebody decided."""

    def is_changed(self, row: int) -> bool:
        """Whether the decision is another label than the model's."""

    def accept_all(self, rows: Iterable[int]) -> None:
        """Decide for the labels of now, in one step."""

    def relabel(self, row: int, label: Hashable) -> None:
        """Decide for another label."""

    def undo(self) -> int | None:
        """Take a step back and return its first row."""

    @property
    def num_reviewed(self) -> int:
        """Rows that somebody decided about."""


class ReviewTable(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A view of ``model``, ``PAGE_ROWS`` rows at once."""

    def __init__(self, model: ReviewModel) -> None:
        self._model = model
        self.page = 0
        self.back = _button("Back", "The page before this one", lambda: self._turn(self.page - 1))
        self.forward = _button("Next", "The page after this one", lambda: self._turn(self.page + 1))
        self.accept_page = _button("Accept page", "Accept what is undecided here, and turn the page", self._accept_page)
        self.undo = _button("Undo", "Take the last step back", self._undo)
        self.bar = widgets.IntProgress(min=0, max=max(1, len(model)), layout={"width": "10em"})
        self.status = widgets.HTML()
        # two sets of lines in turn: a click that was on its way when the page turned still meets the row it was for
        num_lines = min(PAGE_ROWS, len(model))
        looks = _Looks()
        self._pages = [[_Line(model, looks, self._tell) for _ in range(num_lines)] for _ in range(2)]
        self.rows = widgets.VBox()
        buttons = widgets.HBox([self.accept_page, self.undo, self.back, self.forward, self.bar, self.status])
        super().__init__([buttons, self.rows])
        self._turn(0)

    @property
    def lines(self) -> list[_Line]:
        """The lines that are shown."""
        return self._pages[self.page % 2][: len(self._shown)]

    @property
    def _shown(self) -> range:
        first = self.page * PAGE_ROWS
        return range(first, min(first + PAGE_ROWS, len(self._model)))

    @property
    def _num_pages(self) -> int:
        return max(1, -(-len(self._model) // PAGE_ROWS))

    def _turn(self, page: int) -> None:
        self.page = min(max(page, 0), self._num_pages - 1)
        self._draw()

    def _draw(self) -> None:
        for line, row in zip(self.lines, self._shown, strict=True):
            line.show(row)
        self.rows.children = [line.box for line in self.lines]
        self.back.disabled = self.page == 0
        self.forward.disabled = self.page == self._num_pages - 1
        self._tell()

    def _accept_page(self) -> None:
        self._model.accept_all(self._shown)
        self._turn(self.page + 1)

    def _undo(self) -> None:
        row = self._model.undo()
        self._turn(self.page if row is None else row // PAGE_ROWS)

    def _tell(self) -> None:
        num_reviewed, num_rows = self._model.num_reviewed, len(self._model)
        self.bar.value = num_reviewed
        said = f"{num_reviewed:,} of {num_rows:,} reviewed · page {self.page + 1:,} of {self._num_pages:,}"
        self.status.value = said if num_rows else "Nothing to review."


class _Looks:
    """Layouts, and the style of buttons, that all lines share: each is a model in the browser."""

    def __init__(self) -> None:
        self.button = widgets.Layout(width="8em", flex="0 0 auto")
        self.choice = widgets.Layout(width="12em", flex="0 0 auto")
        self.said = widgets.Layout(flex="1 1 auto", min_width="0")
        self.line = widgets.Layout(align_items="flex-start")
        self.button_style = widgets.ButtonStyle()


class _Line:
    """One line of a page: the widgets, and the row that they show now."""

    def __init__(self, model: ReviewModel, looks: _Looks, tell: Any) -> None:
        self._model = model
        self._tell = tell
        self._row = 0
        self._is_drawing = False
        options = [("", None), *((str(label), label) for label in model.labels)]
        self.button = heard_where_sent(widgets.Button(layout=looks.button, style=looks.button_style))
        self.choice = heard_where_sent(widgets.Dropdown(options=options, layout=looks.choice))
        self.said = widgets.HTML(layout=looks.said)
        self.box = widgets.HBox([self.button, self.choice, self.said], layout=looks.line)
        self.button.on_click(lambda _: self._accept())
        self.choice.observe(lambda change: self._choose(change["new"]), names="value")

    def show(self, row: int) -> None:
        """Draw a row; draws nothing that has not changed."""
        self._row = row
        confidence = self._model.confidence(row)
        sure = "" if confidence is None else f"<b>{confidence:.1%}</b> "
        text = self._model.text(row)
        text = text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
        self.said.value = f"<div style='{_TEXT_STYLE}'>{sure}{html.escape(text)}</div>"
        self._show_decision()

    def _show_decision(self) -> None:
        model, row = self._model, self._row
        self._is_drawing = True
        try:
            self.choice.value = model.label(row)
        finally:
            self._is_drawing = False
        changed = "✓ changed" if model.is_changed(row) else "✓ accepted"
        self.button.description = changed if model.is_reviewed(row) else "Accept"
        self.button.disabled = model.label(row) is None

    def _accept(self) -> None:
        self._model.accept_all([self._row])
        self._after()

    def _choose(self, label: Hashable | None) -> None:
        if self._is_drawing:
            return
        if label is not None:
            self._model.relabel(self._row, label)
        self._after()

    def _after(self) -> None:
        self._show_decision()  # the same widgets, so that the keyboard stays where it is
        self._tell()


def _button(description: str, tooltip: str, press: Any) -> Any:
    button = heard_where_sent(widgets.Button(description=description, tooltip=tooltip, layout={"width": "auto"}))
    button.on_click(lambda _: press())
    return button

"""``df.llm.review``: a person's decisions about the rows that the model was least sure of, and the frame with them.

This is the model of the review, in plain Python; ``pagednb.widgets`` draws it in a notebook.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import pandas as pd

from pagednb.dataframe.kept.paths import given_path
from pagednb.dataframe.results.columns import as_label
from pagednb.dataframe.results.html_table import html_table
from pagednb.dataframe.review.decision_file import DecisionFile, check_labels
from pagednb.dataframe.review.decisions import DecisionLog, decision_log
from pagednb.dataframe.review.rows import review_rows
from pagednb.errors import OptionError

MAX_HTML_ROWS = 8


class Review:
    """Rows to review, counted from 0 in the order of the review: without a label first, then the least certain.

    The last expression of a cell shows it as a table; ``accept`` and ``relabel`` do the same from code. Rows that show
    the same are one row here, and the decision is for all of them. Decisions are kept in the kernel: the same cell run
    again goes on where it was, and so does a review of a frame that has ``<into>_reviewed`` already.

    ``frame`` is a copy with ``<into>_reviewed``: the label that was accepted or chosen, NA where nobody decided, so it
    says what was reviewed. ``out["team_reviewed"].fillna(out["team"])`` are the final labels, and
    ``pagednb.evaluate(out["team"], out["team_reviewed"])`` measures the model on the reviewed rows.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        into: str,
        *,
        below: float | None = 0.7,
        labels: Sequence[Hashable] | None = None,
        columns: Sequence[Hashable] | None = None,
        save: str | os.PathLike[str] | None = None,
    ) -> None:
        """See ``df.llm.review``."""
        self._frame = frame
        self._into = into
        self._rows = review_rows(frame, into, below=below, labels=labels, columns=columns)
        self._keys: list[int] = self._rows.keys[self._rows.positions].tolist()
        self._key_to_row = {key: row for row, key in enumerate(self._keys)}
        known = self._known_decisions()
        # what somebody chose is a choice, also where labels= leaves it out
        self.labels = list(dict.fromkeys([*self._rows.labels, *(label for _, label in known)]))
        self._log = self._opened_log(save)
        self._log.adopt(known)

    def __len__(self) -> int:
        return len(self._keys)

    def text(self, row: int) -> str:
        """Return what a person reads to decide."""
        return self._rows.text(self._position(row))

    def label(self, row: int) -> Hashable | None:
        """Return the decision about a row, else the model's label; None where there is neither."""
        decided = self._decided(self._keys[self._checked(row)])
        suggested = self._rows.suggested[self._position(row)]
        return decided if decided is not None else suggested if suggested in self.labels else None

    def confidence(self, row: int) -> float | None:
        """Return the model's confidence in its label; None if it is not known."""
        value = float(self._rows.confidence[self._position(row)])
        return None if math.isnan(value) else value

    def is_reviewed(self, row: int) -> bool:
        """Whether somebody decided about a row."""
        return self._decided(self._keys[self._checked(row)]) is not None

    def is_changed(self, row: int) -> bool:
        """Whether the decision is another label than the model's."""
        return self.is_reviewed(row) and self.label(row) != self._rows.suggested[self._position(row)]

    def accept(self, row: int) -> None:
        """Take the label that a row has.

        Raises:
            OptionError: it has none, or there is no such row.
        """
        if self.label(row) is None:
            raise OptionError(f"Row {row} of the review has no label to accept.", hint="Use relabel(row, label).")
        self.accept_all([row])

    def accept_all(self, rows: Iterable[int] | None = None) -> None:
        """Take the labels of rows, all if none are named; one step to undo. Rows without a label stay undecided."""
        chosen = range(len(self)) if rows is None else rows
        row_to_label = {self._keys[row]: self.label(row) for row in chosen if not self.is_reviewed(row)}
        decided = {key: label for key, label in row_to_label.items() if label is not None}
        if decided:
            self._log.decide(decided)

    def relabel(self, row: int, label: Hashable) -> None:
        """Give a row another label.

        Raises:
            OptionError: it is none of ``labels``, or there is no such row.
        """
        self._checked(row)
        if label not in self.labels:
            raise OptionError(
                f"{label!r} is none of the labels.", hint=f"Use one of {', '.join(map(repr, self.labels))}."
            )
        if label != self._decided(self._keys[row]):
            self._log.decide({self._keys[row]: label})

    def undo(self) -> int | None:
        """Take the last step back and return its first row, None if there is none."""
        rows = [self._key_to_row[key] for key in self._log.undo() if key in self._key_to_row]
        return min(rows, default=None)

    def clear(self) -> None:
        """Take all decisions about these rows back; one step to undo."""
        decided = [key for key in self._log.decided() if key in self._key_to_row]
        if decided:
            self._log.decide(dict.fromkeys(decided))

    @property
    def num_reviewed(self) -> int:
        """Rows that somebody decided about."""
        return sum(key in self._key_to_row and self._decided(key) is not None for key in self._log.decided())

    @property
    def frame(self) -> Any:
        """A copy of the frame with what was decided so far."""
        return self._pandas_frame()

    def _pandas_frame(self) -> pd.DataFrame:
        result = self._frame.copy()
        decided = [self._decided(key) for key in self._rows.keys.tolist()]
        result[as_label(result, f"{self._into}_reviewed")] = pd.array(decided, dtype=self._dtype())
        return result

    @property
    def rows(self) -> pd.DataFrame:
        """The rows to review as a frame: text, label, confidence and whether somebody decided."""
        rows = range(len(self))
        columns = {
            "text": [self.text(row) for row in rows],
            "label": pd.array([self.label(row) for row in rows], dtype=self._dtype()),
            "confidence": pd.array([self.confidence(row) for row in rows], dtype="Float64"),
            "reviewed": [self.is_reviewed(row) for row in rows],
        }
        return pd.DataFrame(columns)

    @functools.cached_property
    def table(self) -> Any:
        """The widget, one for each review: two views of it show the same."""
        from pagednb.widgets.review_table import ReviewTable

        return ReviewTable(self)

    def __repr__(self) -> str:
        return f"<pagednb review of {self._into!r}: {self.num_reviewed:,} of {len(self):,} rows reviewed>"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.table._repr_mimebundle_(**options) | {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        """The first rows as a table that stays where no kernel runs: in a saved notebook, on a page."""
        rows = range(min(len(self), MAX_HTML_ROWS))
        cells = [(row, self.label(row), _percent(self.confidence(row)), self.text(row)) for row in rows]
        more = f"<p>and {len(self) - len(rows):,} more</p>" if len(self) > len(rows) else ""
        heading = f"<p>{self.num_reviewed:,} of {len(self):,} rows reviewed</p>"
        return heading + html_table(("", self._into, "confidence", "text"), cells, texts=(3,)) + more

    def _position(self, row: int) -> int:
        return int(self._rows.positions[self._checked(row)])

    def _checked(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise OptionError(f"There is no row {row} in this review.", hint=f"It has {len(self)}, counted from 0.")
        return row

    def _decided(self, key: int) -> Hashable | None:
        label = self._log.label(key)
        return label if label in self.labels else None  # a review with other labels may have decided

    def _dtype(self) -> Any:
        dtype = self._frame[as_label(self._frame, self._into)].dtype
        if pd.api.types.is_bool_dtype(dtype):
            return pd.BooleanDtype()
        if not isinstance(dtype, pd.CategoricalDtype):
            return pd.CategoricalDtype(self.labels)
        added = [label for label in self.labels if label not in dtype.categories]
        if not added:
            return dtype  # the very same, or pandas refuses to fill one column from the other
        return pd.CategoricalDtype([*dtype.categories, *added], ordered=dtype.ordered)

    def _opened_log(self, save: str | os.PathLike[str] | None) -> DecisionLog:
        shown = self._rows.shown.columns
        if save is None:
            return decision_log((self._into, *shown))
        check_labels(self.labels)
        return decision_log((self._into, *shown), DecisionFile(given_path("save", save), self._into, shown.tolist()))

    def _known_decisions(self) -> list[tuple[int, Hashable]]:
        """Keys and labels that the frame holds already."""
        label = as_label(self._frame, f"{self._into}_reviewed")
        if label not in self._frame.columns:
            return []
        column = self._frame[label]
        known = column.notna().to_numpy()
        return list(zip(self._rows.keys[known].tolist(), column[known].tolist(), strict=True))


def _percent(confidence: float | None) -> str:
    return "" if confidence is None else f"{confidence:.1%}"

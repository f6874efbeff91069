"""What people decided about rows, kept for the life of the process: a cell that is run again finds it.

Rows are known by a number made of what a person saw of them, so decisions survive a frame that is made anew, filtered
or sorted, and equal rows share one. Knows no frames and no widgets.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Mapping

from pagednb import runtime
from pagednb.dataframe.review.decision_file import DecisionFile

_NAME = "review_decisions"


class DecisionLog:
    """Labels by row, in a file too if there is one.

    Widgets' handlers may run on another thread than the cell, so every change takes the lock.
    """

    def __init__(self, file: DecisionFile | None = None) -> None:
        self._lock = threading.Lock()
        self._file = file
        # every label a row was ever given; the last one counts, None is "not decided"
        self._row_to_labels: dict[int, list[Hashable | None]] = {}
        self._undoable: list[dict[int, Hashable | None]] = []  # for each action, what its rows had before
        for row, label in file.open() if file is not None else ():
            self._row_to_labels.setdefault(row, []).append(label)

    def label(self, row: int) -> Hashable | None:
        """Return what was decided about a row, None if nothing."""
        labels = self._row_to_labels.get(row)
        return labels[-1] if labels else None

    def decided(self) -> list[int]:
        """Return the rows that have a label."""
        return [row for row, labels in self._row_to_labels.copy().items() if labels[-1] is not None]

    def decide(self, row_to_label: Mapping[int, Hashable | None]) -> None:
        """Give rows labels, as one action; None takes a decision back."""
        with self._lock:
            self._undoable.append({row: self.label(row) for row in row_to_label})
            self._give(row_to_label)

    def undo(self) -> list[int]:
        """Take the last action back and return its rows; none if there was none."""
        with self._lock:
            if not self._undoable:
                return []
            before = self._undoable.pop()
            self._give(before)
            return list(before)

    def adopt(self, rows: Iterable[tuple[int, Hashable]]) -> None:
        """Take over labels that a frame holds already, unless this log gave the row that label itself once.

        Then the frame is older than the log. A label that never was in the log was written by somebody else later.
        """
        with self._lock:
            self._give({row: label for row, label in rows if label not in self._row_to_labels.get(row, ())})

    def _give(self, row_to_label: Mapping[int, Hashable | None]) -> None:
        if self._file is not None:
            self._file.add(row_to_label)
        for row, label in row_to_label.items():
            self._row_to_labels.setdefault(row, []).append(label)


def decision_log(subject: tuple[Hashable, ...], file: DecisionFile | None = None) -> DecisionLog:
    """Return this process's log about ``subject``, empty the first time; with a file always what the file holds."""
    if file is not None:
        return DecisionLog(file)
    subject_to_log: dict[Hashable, DecisionLog] = runtime.kept(_NAME, dict)
    return subject_to_log.setdefault(subject, DecisionLog())

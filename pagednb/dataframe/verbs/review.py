"""The verb ``review``: a table in which a person accepts or changes the labels that the model was least sure of."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from typing import Protocol

from pagednb.dataframe.review.review import Review
from pagednb.dataframe.rows.pandas_rows import FrameRows


class ReviewAccessor(Protocol):
    """What the verb is a method of: frames alone, a series has no confidences."""

    @property
    def rows(self) -> FrameRows:
        """The rows to review."""


def review(
    self: ReviewAccessor,
    into: str,
    *,
    below: float | None = 0.7,
    labels: Sequence[Hashable] | None = None,
    columns: Sequence[Hashable] | None = None,
    save: str | os.PathLike[str] | None = None,
) -> Review:
    """Return a table of the labels to look at, least certain first: accept each or choose another. No model is needed.

    Keep it under a name, ``review = out.llm.review("team")``, and let the cell end with ``review`` to see the table.
    ``review.frame`` is a copy of the frame with ``team_reviewed``: the label that was accepted or chosen, and NA where
    nobody decided, so it says what was reviewed; ``fillna(out["team"])`` on it gives the final labels.

    Decisions stay in the kernel: the same cell run again has them all, on a frame that was made anew too; with
    ``save=`` they are on disk as well. A review of a frame with ``team_reviewed`` goes on from that column.

    Args:
        into: The column of labels. Choices are its categories, in their order.
        below: Rows whose ``<into>_confidence`` is less, and rows without a label. None: all rows; then no column of
            confidences is needed.
        labels: Other choices than the categories. A new one becomes a category of ``<into>_reviewed``; ``fillna`` then
            needs ``astype(object)`` before it.
        columns: What is shown of a row. Not given: the columns that the model saw, or if the frame does not say which
            those were, all others. Rows that show the same are reviewed once.
        save: A file that gets each decision as it is made, and from which the same cell in another kernel goes on.

    Raises:
        OptionError: a column is missing or holds lists, an option is out of range, or ``save`` is another's file.
    """
    return Review(self.rows.data, into, below=below, labels=labels, columns=columns, save=save)

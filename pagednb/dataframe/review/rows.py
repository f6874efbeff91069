"""Which rows a review shows, in which order, and what a person sees of each. Decides nothing, changes no frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pagednb.dataframe.prompts.row_prompts import frame_prompts
from pagednb.dataframe.results.columns import as_label
from pagednb.dataframe.results.record import RUNS
from pagednb.dataframe.results.whole_text import whole_text
from pagednb.errors import OptionError, TemplateError, nearest_name


@dataclasses.dataclass(frozen=True)
class ReviewRows:
    """Rows of one frame.

    Attributes:
        positions: of the rows to review in the frame, those without a label first, then the least certain; of rows that
            show the same, the first alone.
        keys: uint64 [num_rows of the frame], equal where rows show the same.
        labels: what may be chosen.
        suggested: the model's labels, None without one.  [num_rows of the frame]
        confidence: float64 [num_rows of the frame], NaN where it is not known.
        shown: the columns that a person sees.
    """

    positions: np.ndarray
    keys: np.ndarray
    labels: Sequence[Hashable]
    suggested: Sequence[Hashable | None]
    confidence: np.ndarray
    shown: pd.DataFrame

    def text(self, position: int) -> str:
        """Return what a person reads to decide: the value of the one column, or a line for each."""
        values = [(name, value) for name, value in self.shown.iloc[position].items() if not _is_missing(value)]
        if self.shown.shape[1] == 1:
            return whole_text("".join(str(value) for _, value in values))
        return whole_text("\n".join(f"{name}: {value}" for name, value in values))


def review_rows(
    frame: pd.DataFrame,
    into: str,
    *,
    below: float | None,
    labels: Sequence[Hashable] | None,
    columns: Sequence[Hashable] | None,
) -> ReviewRows:
    """Return the rows of ``df.llm.review`` with the same options.

    Raises:
        OptionError: a column is missing or holds no labels, or an option is out of range.
    """
    column = _column(frame, into, hint="Name the column that classify made.")
    names = _shown_columns(frame, into) if columns is None else _given_columns(frame, columns)
    shown = frame[list(dict.fromkeys(names))]
    confidence = _confidence(frame, into, column, below)
    keys = _keys(shown)
    is_readable = shown.notna().any(axis=1).to_numpy()
    order = _least_certain(column, confidence, below)
    order = order[is_readable[order]]
    firsts = np.sort(np.unique(keys[order], return_index=True)[1])
    is_known = column.notna().tolist()
    suggested = [value if known else None for value, known in zip(column.tolist(), is_known, strict=True)]
    choices = _labels(column) if labels is None else list(labels)
    return ReviewRows(order[firsts], keys, choices, suggested, confidence, shown)


def _keys(shown: pd.DataFrame) -> np.ndarray:
    """Return uint64 ``[num_rows]``; those of equal texts are equal, in every kernel."""
    try:
        keys = pd.util.hash_pandas_object(shown.astype(str), index=False)
    except UnicodeEncodeError:
        whole = shown.map(lambda value: whole_text(value) if isinstance(value, str) else value)
        keys = pd.util.hash_pandas_object(whole.astype(str), index=False)
    return np.asarray(keys)


def _column(frame: pd.DataFrame, name: object, hint: str) -> pd.Series:
    label = as_label(frame, name) if isinstance(name, str) else name
    if not isinstance(label, Hashable) or label not in frame.columns:
        names = [str(known) for known in frame.columns]
        nearest = nearest_name(name, names) if isinstance(name, str) else None
        raise OptionError(f"There is no column {name!r}.", hint=f"Did you mean {nearest!r}?" if nearest else hint)
    column = frame[label]
    if isinstance(column, pd.DataFrame):
        raise OptionError(f"The frame has {column.shape[1]} columns named {name!r}.", hint="Rename all but one.")
    return column


def _labels(column: pd.Series) -> list[Hashable]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return list(column.cat.categories)
    if pd.api.types.is_bool_dtype(column.dtype):
        return [True, False]
    try:
        return sorted(column.dropna().unique().tolist(), key=str)
    except TypeError as error:
        raise OptionError(
            f"{column.name!r} holds {type(column.dropna().iloc[0]).__name__}s.",
            hint="review decides about one label a row.",
        ) from error


def _confidence(frame: pd.DataFrame, into: str, labels: pd.Series, below: object) -> np.ndarray:
    if below is not None and (isinstance(below, bool) or not isinstance(below, (int, float)) or not 0 < below <= 1):
        raise OptionError(f"below={below!r} is not valid.", hint="Use a probability above 0, or None for all rows.")
    name = f"{into}_confidence"
    if below is None and as_label(frame, name) not in frame.columns:
        return np.full(len(frame), np.nan)
    column = _column(frame, name, hint="classify writes it; below=None reviews every row without it.")
    confidence = np.asarray(column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan))
    if not pd.api.types.is_bool_dtype(labels.dtype):
        return confidence
    is_no = labels.eq(False).fillna(False).to_numpy(dtype=bool)
    return np.where(is_no, 1 - confidence, confidence)  # filter writes how likely yes is


def _least_certain(column: pd.Series, confidence: np.ndarray, below: float | None) -> np.ndarray:
    certainty = np.where(column.isna().to_numpy(), -1.0, np.nan_to_num(confidence))
    order = np.argsort(certainty, kind="stable")
    # confidences are float32, and 0.7 is a little less there
    return order if below is None else order[certainty[order].astype(np.float32) < np.float32(below)]


def _shown_columns(frame: pd.DataFrame, into: str) -> list[Hashable]:
    """The columns that the model saw; if the frame does not say, all but those of the labels themselves."""
    template = frame.attrs.get(RUNS, {}).get(into, {}).get("template")
    if template is not None:
        label = next((label for label in frame.columns if str(label) == template), template)
        try:
            return [column.name for column in frame_prompts(frame.iloc[:0], label).columns]
        except TemplateError:
            pass  # columns were renamed or dropped since
    own = (into, f"{into}_")
    heads = [label[0] if isinstance(label, tuple) else label for label in frame.columns]
    return [
        label
        for label, head in zip(frame.columns, heads, strict=True)
        if not (head == own[0] or (isinstance(head, str) and head.startswith(own[1])))
    ]


def _given_columns(frame: pd.DataFrame, columns: object) -> list[Hashable]:
    if isinstance(columns, str) or not isinstance(columns, Sequence) or not columns:
        raise OptionError(f"columns={columns!r} is not valid.", hint="Give a list of columns, such as ['text'].")
    known = ", ".join(map(repr, frame.columns))
    return [_column(frame, name, hint=f"Known: {known}.").name for name in columns]


def _is_missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))

"""``df.llm.retry``: the rows of an earlier run that failed, run again as they were, put where they failed."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pagednb.dataframe.prompts.row_prompts import frame_prompts
from pagednb.dataframe.results.columns import as_label
from pagednb.dataframe.results.record import RunRecord
from pagednb.dataframe.results.typed_columns import object_column
from pagednb.errors import NotSupportedYetError, OptionError
from pagednb.sampling_params import SamplingParams

Verb = Callable[..., pd.DataFrame]


def retry_rows(
    frame: pd.DataFrame,
    into: str,
    model: str,
    verb_of: Callable[[pd.DataFrame, np.ndarray, str], Verb],
    *,
    max_tokens: int | None = None,
    **changed: Any,
) -> pd.DataFrame:
    """Return a copy of the frame in which rows with a reason in ``<into>_error`` were run again.

    ``verb_of`` gives, by its name, a verb that runs over the rows at some positions of a frame. ``max_tokens`` and
    ``changed`` are options that shall differ from the first run.

    Raises:
        OptionError: the frame does not know the run, another model made it, its inputs were written over, or its
            columns were dropped.
        NotSupportedYetError: the run cannot be repeated from its record.
    """
    record = RunRecord.read(frame, into)
    if record.model != model:
        raise OptionError(
            f"{into!r} was made by {record.model!r}, and {model!r} is loaded.", hint="Load that one, or run the verb."
        )
    rows = failed_positions(frame, into)
    if not len(rows):
        return frame.copy()
    template = _template(frame, record.template)
    _require_columns(frame, into, record, template)
    again = frame
    if record.into is None:  # extract refuses to replace columns that only the schema names
        made = [as_label(frame, name) for name in (*record.columns, f"{into}_error")]
        again = frame.drop(columns=[label for label in made if label in frame.columns])
    options = _options(record, {} if max_tokens is None else {"max_tokens": max_tokens}) | changed
    done = verb_of(again, rows, record.verb)(template, **options)
    return _with_rows(frame, rows, done, record.columns, into)


def failed_positions(frame: pd.DataFrame, into: str) -> np.ndarray:
    """Return the positions of rows with a reason in ``<into>_error``; none if there is no such column."""
    label = as_label(frame, f"{into}_error")
    if label not in frame.columns:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(frame[label].notna().to_numpy(dtype=bool))


def _options(record: RunRecord, changed_sampling: Mapping[str, Any]) -> dict[str, Any]:
    sampling = {**record.sampling, **changed_sampling}
    if sampling.get("logit_bias"):  # JSON's keys are texts
        sampling["logit_bias"] = {int(token_id): bias for token_id, bias in sampling["logit_bias"].items()}
    options = {"into": record.into, "truncate": record.truncate}
    if record.system is not None:  # not every verb takes one
        options["system"] = record.system
    if record.options is not None:
        if changed_sampling:
            raise OptionError(
                f"{record.verb} writes no text, so max_tokens= has no place.", hint="Retry without max_tokens=."
            )
        return options | {**record.options}
    if record.verb == "generate":
        return options | {"sampling_params": SamplingParams(**sampling)}
    if record.verb == "extract" and record.schema is not None:
        del sampling["schema"]
        return options | {"sampling_params": SamplingParams(**sampling), "schema": json.loads(record.schema)}
    raise NotSupportedYetError(f"retry of this {record.verb} is not built yet.", hint=f"Run {record.verb} again.")


def _template(frame: pd.DataFrame, template: str) -> Hashable:
    """A column's label where the record has its text: labels need not be texts."""
    return next((label for label in frame.columns if str(label) == template), template)


def _require_columns(frame: pd.DataFrame, into: str, record: RunRecord, template: Hashable) -> None:
    """Refuse a run whose rows cannot be read any more, as their columns hold answers now, or whose answers are gone."""
    if not any(as_label(frame, name) in frame.columns for name in record.columns):
        raise OptionError(
            f"The frame has none of the columns of {into!r} any more.", hint=f"Run {record.verb} again instead."
        )
    written = RunRecord.names_written_since(frame, into)
    for name in frame_prompts(frame, template).template.names:
        if name in written:
            raise OptionError(
                f"The column {name!r}, which {record.verb} read, was written over by it or by a later run.",
                hint=f"Run {record.verb} again on the frame as it was, with another into=.",
            )


def _with_rows(
    frame: pd.DataFrame, rows: np.ndarray, done: pd.DataFrame, columns: Sequence[str], into: str
) -> pd.DataFrame:
    """Put the rows of ``done`` at the positions ``rows``; the column of errors goes when none is left.

    Columns that were dropped since stay dropped.
    """
    result = frame.copy()
    error_label = as_label(frame, f"{into}_error")
    for label in (*(as_label(frame, name) for name in columns), error_label):
        if label in frame.columns:
            answers = done[label].iloc[rows] if label in done.columns else pd.Series([None] * len(rows), dtype=object)
            result[label] = _filled(frame[label], rows, answers)
    if result[error_label].isna().all():
        del result[error_label]
    result.attrs = {**frame.attrs, "pagednb": dict(done.attrs["pagednb"])}
    return result


def _filled(column: pd.Series, rows: np.ndarray, answers: pd.Series) -> Any:
    """The column's array with answers at some positions, in its dtype or, if it was changed since, one for both."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        known = column.cat.categories
        added = [label for label in answers.dropna().unique().tolist() if label not in known]
        # add_categories of pandas 2.2 forgets that the categories are strings
        column = column.cat.set_categories(known.append(pd.Index(added, dtype=known.dtype)))
    elif answers.dtype not in (column.dtype, object):
        column = column.astype(pd.concat([column, answers]).dtype)
    values = column.array.copy()
    items = answers.tolist()
    is_object = values.dtype == object
    values[rows] = object_column(items, answers.index).array if is_object else pd.array(items, dtype=values.dtype)
    return values

"""``df.llm.retry``: the rows of an earlier run that failed, run again as they were, put where they failed."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
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
    verb_of: Callable[[pd.DataFrame, str], Verb],
    *,
    max_tokens: int | None = None,
    **changed: Any,
) -> pd.DataFrame:
    """Return a copy of the frame in which rows with a reason in ``<into>_error`` were run again.

    ``verb_of`` gives a frame's verb by its name. ``max_tokens`` and ``changed`` are options that shall differ from the
    first run.

    Raises:
        OptionError: the frame does not know the run, another model made it, or its inputs were written over.
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
    _require_inputs(frame, into, record, template)
    again = frame.iloc[rows]
    if record.into is None:  # extract refuses to replace columns that only the schema names
        again = again.drop(columns=[as_label(frame, name) for name in record.columns])
    options = _options(record, {} if max_tokens is None else {"max_tokens": max_tokens}) | changed
    done = verb_of(again, record.verb)(template, **options)
    return _with_rows(frame, rows, done, [*record.columns], into)


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
    options = {"into": record.into, "system": record.system, "truncate": record.truncate}
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


def _require_inputs(frame: pd.DataFrame, into: str, record: RunRecord, template: Hashable) -> None:
    """Refuse a run whose rows cannot be read any more: their columns hold answers now."""
    written = RunRecord.names_written_since(frame, into)
    for name in frame_prompts(frame, template).template.names:
        if name in written:
            raise OptionError(
                f"The column {name!r}, which {record.verb} read, was written over by it or by a later run.",
                hint=f"Run {record.verb} again on the frame as it was, with another into=.",
            )


def _with_rows(
    frame: pd.DataFrame, rows: np.ndarray, done: pd.DataFrame, columns: list[str], into: str
) -> pd.DataFrame:
    """Put the rows of ``done`` at the positions ``rows``; the column of errors goes when none is left."""
    result = frame.copy()
    error = f"{into}_error"
    error_label = as_label(frame, error)
    for name in [*columns, error]:
        label = as_label(frame, name)
        values = frame[label].array.copy()
        answers = done[label].tolist() if label in done.columns else [None] * len(rows)
        is_object = values.dtype == object
        values[rows] = object_column(answers, done.index).array if is_object else pd.array(answers, dtype=values.dtype)
        result[label] = values
    if result[error_label].isna().all():
        del result[error_label]
    figures = dict(done.attrs["pagednb"])
    figures["failures"] = [{**failure, "row": int(rows[failure["row"]])} for failure in figures["failures"]]
    result.attrs = {**frame.attrs, "pagednb": figures}
    return result

"""``examples=``: a frame of rows with their labels, shown to the model as earlier turns before each row."""

from __future__ import annotations

from collections.abc import Collection, Hashable

import pandas as pd

from pagednb.checks import require_unicode
from pagednb.dataframe.prompts.row_prompts import RowPrompts, frame_prompts, series_prompts
from pagednb.dataframe.results.columns import as_label
from pagednb.dataframe.rows.verb_rows import VerbRows
from pagednb.errors import OptionError, PagednbError, TemplateError


def example_turns(
    examples: object, rows: VerbRows, template: Hashable, into: str, labels: Collection[str]
) -> tuple[tuple[str, str], ...]:
    """Return what is asked and answered in each example, in order.

    ``examples`` has the template's columns (for a series one called as it, or ``value``) and the label in ``into``.

    Raises:
        OptionError: no frame, a column or a value is missing, or a label is not among ``labels``.
        TemplateError: as for the rows themselves.
    """
    if examples is None:
        return ()
    if not isinstance(examples, pd.DataFrame):
        raise OptionError(
            f"examples of type {type(examples).__name__} are not valid.",
            hint=f"Give a frame with the template's columns and the label in {into!r}.",
        )
    label = as_label(examples, into)
    if label not in examples.columns:
        raise OptionError(f"The examples have no column {into!r}, where their labels should be.", hint="Rename it.")
    try:
        prompts = _prompts(examples, rows, template)
    except TemplateError as error:
        raise TemplateError(f"Of the examples: {error.message}", hint="Name their columns as the frame's.") from error
    if prompts.num_missing:
        raise OptionError("An example has NA in a column of the template.", hint="Leave it out.")
    return tuple(
        (_text(row, text), _known(row, answer, labels))
        for (row, text), answer in zip(prompts, examples[label].tolist(), strict=True)
    )


def _prompts(examples: pd.DataFrame, rows: VerbRows, template: Hashable) -> RowPrompts:
    if not isinstance(rows.data, pd.Series):
        return frame_prompts(examples, template)
    name = next((name for name in (rows.data.name, "value") if name is not None and name in examples.columns), None)
    if name is None:
        raise OptionError("The examples have no column for the series' values.", hint="Call it 'value'.")
    return series_prompts(examples[name].rename(rows.data.name), template)


def _text(row: int, text: str | PagednbError) -> str:
    if isinstance(text, PagednbError):
        raise OptionError(f"Example {row} cannot be shown: {text.message}")
    require_unicode(f"Example {row}", text)
    return text


def _known(row: int, label: object, labels: Collection[str]) -> str:
    if label not in labels:
        raise OptionError(f"Example {row} has the label {label!r}, which is not one of labels=.")
    return str(label)

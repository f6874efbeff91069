"""From a frame or series and a template to prompts: which columns are used, which rows are missing, what each row says.

Checks everything that can be wrong with the template before any row is read. Rows are rendered as they are asked for,
a slice of each column at a time, so a large frame is never copied.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
import pandas as pd

from pagednb.checks import CLEAN_UNICODE, is_unicode
from pagednb.dataframe.prompts.order import by_shared_beginnings
from pagednb.dataframe.prompts.sample import RowSample
from pagednb.dataframe.prompts.truncation import TruncateOption, shortened
from pagednb.errors import PagednbError, TemplateError, nearest_name
from pagednb.template import BoundTemplate, Field, Template

SLICE_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class RowPrompts:
    """Prompts of a frame's rows: ``columns`` follow ``template.names``, ``positions`` are the rows to run, without NA.

    ``num_not_sampled`` rows without NA are left out of a trial run.
    """

    template: BoundTemplate
    columns: Sequence[pd.Series]
    positions: np.ndarray  # int64 [num_rows_to_run]
    num_not_sampled: int = 0

    @property
    def num_rows(self) -> int:
        """Rows of the frame, missing ones included."""
        return len(self.columns[0])

    @property
    def num_missing(self) -> int:
        """Rows with NA in a used column."""
        return self.num_rows - len(self.positions) - self.num_not_sampled

    def sampled(self, sample: RowSample) -> RowPrompts:
        """Return the prompts of a trial run: some rows of those without NA, in their order."""
        return self.only(sample.choose(self.positions))

    def only(self, positions: np.ndarray) -> RowPrompts:
        """Return the prompts of those rows without NA that are at some positions, in their order."""
        chosen = self.positions[np.isin(self.positions, positions)]
        num_not_sampled = self.num_not_sampled + len(self.positions) - len(chosen)
        return dataclasses.replace(self, positions=chosen, num_not_sampled=num_not_sampled)

    def in_run_order(self) -> RowPrompts:
        """Return the same rows, those together whose prompts begin alike."""
        return dataclasses.replace(self, positions=by_shared_beginnings(self.columns, self.positions))

    def __iter__(self) -> Iterator[tuple[int, str | PagednbError]]:
        """Yield position and text of each row without NA; a row whose template fails has the error instead."""
        for start in range(0, len(self.positions), SLICE_ROWS):
            rows = self.positions[start : start + SLICE_ROWS]
            values = zip(*(column.iloc[rows].tolist() for column in self.columns), strict=True)
            for position, row in zip(rows.tolist(), values, strict=True):
                yield position, self._render(row)

    def shortened(self, position: int, fits: Callable[[str], bool], side: TruncateOption) -> str | None:
        """Return the longest prompt of a row that ``fits`` when its values are cut at ``side``; None if none does."""
        values = tuple(column.iloc[position] for column in self.columns)
        return shortened(self.template.render_pieces(values), fits, side)

    def _render(self, row: tuple[object, ...]) -> str | PagednbError:
        for name, value in zip(self.template.names, row, strict=True):
            if isinstance(value, (bytes, bytearray, memoryview)):
                return TemplateError(f"{name!r} holds bytes, not text.")
        try:
            return self.template.render(row)
        except TemplateError as error:
            return error


def frame_prompts(frame: pd.DataFrame, template: Hashable) -> RowPrompts:
    """Prompts from a column's label, or from a template whose fields are columns.

    Raises:
        TemplateError: neither a column nor a template with a field, an unknown field, or a column that occurs twice.
    """
    name_to_label = _names_of(frame)
    if isinstance(template, Hashable) and template in frame.columns:
        name_to_label = {str(template): template}
        bound = _whole_value(str(template))
    else:
        bound = _bind(template, list(name_to_label), owner="column")
    return _row_prompts(bound, [_column(frame, name_to_label[name]) for name in bound.names])


def series_prompts(series: pd.Series, template: Hashable) -> RowPrompts:
    """Prompts from the values themselves (None), or from a template with ``{}``, ``{value}`` or the series' own name.

    Raises:
        TemplateError: the template has no field, or one with another name.
    """
    names = ["", "value"] if series.name is None else ["", "value", str(series.name)]
    is_whole = template is None or template == series.name
    bound = _whole_value("value") if is_whole else _bind(template, names, owner="value")
    return _row_prompts(bound, [series] * len(bound.names))


def _whole_value(name: str) -> BoundTemplate:
    return BoundTemplate([Field(name, name)])


def _row_prompts(template: BoundTemplate, columns: Sequence[pd.Series]) -> RowPrompts:
    present = np.ones(len(columns[0]), dtype=bool)
    for column in columns:
        present &= column.notna().to_numpy(dtype=bool)
    positions = np.flatnonzero(present)
    if len(positions):
        _require_fillable(template, columns, positions[0])
    return RowPrompts(template, columns, positions)


def _require_fillable(template: BoundTemplate, columns: Sequence[pd.Series], position: int) -> None:
    """Refuse a field that no value of its column's type can fill, such as ``{price:d}`` of floats.

    One row tells where all values have one type; columns of objects are left to their rows.
    """
    for field in template.pieces:
        if isinstance(field, str):
            continue
        column = columns[template.names.index(field.name)]
        if column.dtype == object or isinstance(column.dtype, pd.CategoricalDtype):
            continue
        [value] = column.iloc[[position]].tolist()  # a Python value, as rows are rendered of
        try:
            field.format(value)
        except TemplateError as error:
            if isinstance(error.__cause__, AttributeError | TypeError | ValueError | None):
                kind = type(value).__name__
                reason = error.message.rstrip(".")
                raise TemplateError(f"{reason}.", hint=f"All values of {field.name!r} are {kind}.") from error


def _bind(template: object, names: list[str], *, owner: str) -> BoundTemplate:
    if template is None:
        example = f'"Summarise: {{{names[0]}}}"' if names else '"Summarise: {text}"'
        raise TemplateError(f"Which {owner}? A template is needed.", hint=f"For example {example}. {_known(names)}")
    if not isinstance(template, str):
        raise TemplateError(f"{template!r} is neither a {owner} nor a text.", hint=_known(names))
    if not is_unicode(template):
        raise TemplateError("The template is not valid Unicode (it holds a lone surrogate).", hint=CLEAN_UNICODE)
    bound = Template(template).bind(names)
    if not bound.names:
        nearest = nearest_name(template, names)
        meant = f"{{{nearest}}}" if nearest == template else nearest
        where = f"Put {{{next(filter(None, names), '')}}} where the {owner} goes."
        hint = f"Did you mean {meant!r}?" if nearest else f"{where} {_known(names)}"
        raise TemplateError(f"{template!r} is no {owner} and uses none.", hint=hint)
    return bound


def _known(names: list[str]) -> str:
    listed = ", ".join(repr(name) for name in names if name)
    return f"Known: {listed or 'none'}."


def _names_of(frame: pd.DataFrame) -> dict[str, Hashable]:
    """Column labels by what a template writes for them: the label itself, or its text where that is not taken."""
    names: dict[str, Hashable] = {}
    for label in frame.columns:
        names.setdefault(str(label), label)
    return names | {label: label for label in frame.columns if isinstance(label, str)}


def _column(frame: pd.DataFrame, label: Hashable) -> pd.Series:
    column = frame[label]
    if isinstance(column, pd.DataFrame):
        if frame.columns.nlevels > 1:
            raise TemplateError(
                f"{label!r} is a group of {column.shape[1]} columns.",
                hint=f"Name one, as {frame[[label]].columns[0]!r}.",
            )
        raise TemplateError(f"The frame has {column.shape[1]} columns named {label!r}.", hint="Rename all but one.")
    return column

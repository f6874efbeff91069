"""Where extracted values go: names of the new columns, checked before the run, and the frame that has them.

With ``into`` each field's column is ``<into>_<field>``, and one of that name is replaced in the copy, as every verb
does. Without it a column has the field's plain name; then one of that name is refused, so that no input is lost by a
field that happens to be called alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pandas as pd

from pagednb.dataframe.extraction.answer_schema import AnswerSchema
from pagednb.dataframe.results.record import RunRecord
from pagednb.dataframe.results.typed_columns import object_column, typed_columns
from pagednb.dataframe.rows.verb_rows import VerbRows
from pagednb.errors import OptionError
from pagednb.structured_output.field_spec import FieldSpec

DEFAULT_INTO = "extracted"


@dataclasses.dataclass(frozen=True)
class ExtractedColumns:
    """The new columns of one run: a typed one a field, or with ``expand=False`` one of objects called ``into``."""

    schema: AnswerSchema
    into: str | None
    expand: bool

    @property
    def error_into(self) -> str:
        """What ``_error`` is added to for the column of reasons."""
        return self.into or DEFAULT_INTO

    @property
    def names(self) -> list[str]:
        """Names of the new columns in order."""
        if not self.expand:
            return [self.error_into]
        return [f"{self.into}_{name}" if self.into else name for name, _ in self.schema.fields.fields]

    @property
    def holds(self) -> dict[str, FieldSpec]:
        """What the objects in these columns are; nothing is known of instances."""
        fields = self.schema.fields
        if not self.expand:
            return {self.error_into: fields} if self.schema.gives_dicts else {}
        return dict(zip(self.names, (field for _, field in fields.fields), strict=True))

    def check(self, rows: VerbRows) -> None:
        """Refuse names that meet each other or, without ``into``, a column of the frame that no such extract made.

        Raises:
            OptionError: naming the column.
        """
        if not isinstance(self.expand, bool):
            raise OptionError(f"expand={self.expand!r} is not valid.", hint="Use True or False.")
        if f"{self.error_into}_error" in self.names:
            raise OptionError(
                f"The schema has a field whose column is '{self.error_into}_error', where reasons of failures go.",
                hint="Name the columns differently with into=.",
            )
        taken = [name for name in self.names if name in rows.columns.get_level_values(0)]
        if taken and self.expand and self.into is None and not self._are_ours(rows):
            raise OptionError(
                f"The frame has a column {taken[0]!r} already, and the schema a field of that name.",
                hint=f"Give into=, as into={DEFAULT_INTO!r} for '{DEFAULT_INTO}_{taken[0]}', or drop the column.",
            )

    def _are_ours(self, rows: VerbRows) -> bool:
        """Whether the same cell made them: an extract with this very schema."""
        record = RunRecord.found(rows.data.attrs, self.error_into)
        return record is not None and (record.schema, [*record.columns]) == (self.schema.given, self.names)

    def series_of(self, values: Sequence[Any], index: pd.Index) -> dict[str, pd.Series]:
        """Return the columns by name; ``values`` has None for a row without values."""
        if not self.expand:
            return {self.error_into: object_column(values, index)}
        columns = typed_columns(values, self.schema.fields, index)
        return dict(zip(self.names, columns.values(), strict=True))

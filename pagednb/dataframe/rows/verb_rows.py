"""The rows a verb works on, a frame's or a series': how they become prompts, and where columns go."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any, Protocol

import pandas as pd

from pagednb.checks import require_unicode
from pagednb.dataframe.prompts.row_prompts import RowPrompts
from pagednb.errors import OptionError
from pagednb.structured_output.field_spec import FieldSpec

NOTHING_KNOWN: Mapping[str, FieldSpec] = {}
VECTORS = FieldSpec(kind="array", items=FieldSpec(kind="number"))
"""What a column holds whose values are NumPy arrays, float32."""


@dataclasses.dataclass(frozen=True)
class Target:
    """What a verb's columns are called: ``into``, and ``is_given`` if the caller named it."""

    into: str
    is_given: bool

    @classmethod
    def of(cls, into: object, default: str) -> Target:
        """Return the target of an ``into=``, which may be None.

        Raises:
            OptionError: it names no column.
        """
        if into is None:
            return cls(default, is_given=False)
        if not isinstance(into, str) or not into:
            raise OptionError(f"into={into!r} is not valid.", hint="Name the new column with a text.")
        require_unicode("into", into)
        return cls(into, is_given=True)


class VerbRows(Protocol):
    """Rows of either kind."""

    @property
    def data(self) -> pd.DataFrame | pd.Series:
        """What the caller had when the verb was called; never changed."""

    @property
    def columns(self) -> pd.Index:
        """Labels that new columns might meet."""

    def prompts(self, template: Hashable) -> RowPrompts:
        """Return the prompts of a template, or raise TemplateError."""

    def placed(
        self,
        columns: Mapping[str, Any],
        target: Target,
        reasons: Mapping[int, str],
        figures: Mapping[str, Any],
        holds: Mapping[str, FieldSpec],
    ) -> Any:
        """Return the caller's result: new columns by name (arrays, or series of the rows' index), reasons by row.

        ``holds`` says what the objects of a column are, where that is known whatever the rows hold.
        """

    def failed(self, reasons: Mapping[int, str], into: str) -> Any:
        """Return the rows that have a reason as a frame of the caller's kind, with ``<into>_error``."""

    def where_reasons_are(self, into: str) -> str:
        """Return a sentence that says where a result has the reasons."""


class Accessor(Protocol):
    """What verbs are methods of."""

    @property
    def rows(self) -> VerbRows:
        """The rows as they are at this moment: what the caller changes later does not reach them."""

"""Which rows ``agg`` puts together: one group of all, or those of pandas' ``groupby``."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pagednb.dataframe.results.columns import text_array
from pagednb.errors import NotSupportedYetError, OptionError, nearest_name


@dataclasses.dataclass(frozen=True)
class RowGroups:
    """Groups in the order of the result.

    Attributes:
        index: what the groups are called; None where there is one for all rows.
        group_of_row: int64 ``[num_rows]``, no row is left out: NA among the keys makes a group of its own.
        names: columns that make the groups, as templates write them.
    """

    index: pd.Index | None
    group_of_row: np.ndarray
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, data: pd.DataFrame | pd.Series, by: Any) -> RowGroups:
        """Return the groups that ``by`` makes; it is what ``groupby`` takes, None for one group.

        Raises:
            OptionError: pandas cannot group by it.
            NotSupportedYetError: it is a ``pandas.Grouper``, whose bins pandas numbers wrongly where NA is among them.
        """
        if by is None:
            return cls(None, np.zeros(len(data), dtype=np.int64))
        if any(isinstance(key, pd.Grouper) for key in (by if isinstance(by, list) else [by])):
            raise NotSupportedYetError(
                "agg by a pandas.Grouper is not built yet.",
                hint='Give its keys, such as by=df["day"].dt.to_period("M").',
            )
        try:
            grouped = data.groupby(by, sort=True, observed=True, dropna=False)
            numbers = grouped.ngroup().to_numpy(dtype=np.int64)
            index = grouped.size().index
        except (KeyError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError) as error:
            # not all are pandas' own: a key function has its mistakes, and Arrow has no groups of lists and structs
            known = [str(label) for label in data.columns] if isinstance(data, pd.DataFrame) else []
            nearest = nearest_name(by, known) if isinstance(by, str) and by not in known else None
            hint = f"Did you mean {nearest!r}?" if nearest else "Give a column, a list of columns, or one key a row."
            reason = f"{type(error).__name__}: {error}".rstrip(".")
            raise OptionError(f"by={by!r} cannot group the rows: {reason}.", hint=hint) from error
        assert len(numbers) == len(data) and (numbers >= 0).all(), "every row belongs to a group"
        return cls(index, numbers, _names(data, by))

    def __len__(self) -> int:
        return 1 if self.index is None else len(self.index)

    def split(self, positions: np.ndarray) -> list[np.ndarray]:
        """Return for each group those of the rising ``positions`` that are its, in their order."""
        numbers = self.group_of_row[positions]
        order = np.argsort(numbers, kind="stable")
        bounds = np.searchsorted(numbers[order], np.arange(1, len(self)))
        return np.split(positions[order], bounds)

    def placed(self, values: list[str | None], into: str, figures: Mapping[str, Any]) -> Any:
        """Return the answers as a series by group, or without groups the answer itself; NA where there is none."""
        if self.index is None:
            return pd.NA if values[0] is None else values[0]
        result = pd.Series(text_array(values), index=self.index, name=into)
        result.attrs = {"pagednb": dict(figures)}
        return result

    def failed(self, reasons: Mapping[int, str], into: str) -> pd.DataFrame:
        """Return the groups that have a reason, with ``<into>_error``."""
        groups = sorted(reasons)
        index = pd.RangeIndex(1) if self.index is None else self.index
        return pd.DataFrame({f"{into}_error": text_array([reasons[i] for i in groups])}, index=index[groups])

    def where_reasons_are(self, into: str) -> str:
        """Return a sentence, or nothing where an answer alone has no place for them."""
        return "" if self.index is None else "All reasons are in attrs['pagednb']['failures']."


def _names(data: pd.DataFrame | pd.Series, by: Any) -> frozenset[str]:
    if isinstance(data, pd.Series):
        return frozenset()
    labels = by if isinstance(by, list) else [by]
    return frozenset(str(label) for label in labels if isinstance(label, Hashable) and label in data.columns)

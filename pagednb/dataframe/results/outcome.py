"""What a run over rows gives: a value or a reason for each row, by position, and figures."""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

from pagednb.dataframe.results.figures import RunFigures

Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True)
class RowOutcome(Generic[Value]):
    """Results by row position: ``values[i]`` is None when row i is missing or failed; ``errors`` names the failed.

    Equal rows may share one value, so whoever hands out mutable ones copies them.
    """

    values: list[Value | None]
    errors: dict[int, str]
    figures: RunFigures

    @classmethod
    def empty(cls, *, num_rows: int, num_missing: int = 0, num_not_sampled: int = 0) -> RowOutcome[Value]:
        """Return the outcome of a run that has not begun; ``run_rows`` fills it in place."""
        left_out = {"missing": num_missing, "not_sampled": num_not_sampled}
        figures = RunFigures(rows=num_rows, **left_out, rows_done=num_missing + num_not_sampled)
        return cls([None] * num_rows, {}, figures)

    def copy(self) -> RowOutcome[Value]:
        """Return this moment's state of an outcome that another thread fills."""
        return RowOutcome(list(self.values), dict(self.errors), dataclasses.replace(self.figures))

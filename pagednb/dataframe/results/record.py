"""What a frame remembers of the runs that made its columns: ``attrs["pagednb_runs"]``, one record for each ``into``.

JSON types only, so that pandas carries the records along and Parquet keeps them. ``retry`` reads them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pagednb.errors import OptionError

RUNS = "pagednb_runs"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What decided the answers in a run's columns, beside the rows.

    Attributes:
        into: as the verb was given it; None where the schema's fields name the columns.
        schema: JSON Schema of extract.
        options: of verbs without sampling; None if they cannot be told.
        sampling: parameters that differ from the defaults.
        columns: names of the columns it made, without that of errors.
    """

    verb: str
    template: str
    model: str
    sampling: Mapping[str, Any]
    columns: Sequence[str]
    into: str | None = None
    system: str | None = None
    truncate: str = "error"
    schema: str | None = None
    options: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, figures: Mapping[str, Any], columns: Sequence[str]) -> RunRecord | None:
        """Return the record of a run whose figures name its verb; None for one that cannot be told."""
        if "verb" not in figures:
            return None
        names = [field.name for field in dataclasses.fields(cls) if field.name in figures]
        return cls(**{name: figures[name] for name in names}, columns=list(columns))

    @classmethod
    def read(cls, frame: pd.DataFrame, into: object) -> RunRecord:
        """Return the record of the run that made ``into``.

        Raises:
            OptionError: the frame knows of no such run.
        """
        runs = frame.attrs.get(RUNS, {})
        if not isinstance(into, str) or into not in runs:
            known = ", ".join(map(repr, runs)) or "none"
            raise OptionError(
                f"The frame does not say which run made {into!r}.",
                hint=f"Known: {known}. Some operations of pandas drop a frame's attrs; else run the verb again.",
            )
        return cls(**runs[into])

    @classmethod
    def found(cls, attrs: Mapping[Any, Any], into: str) -> RunRecord | None:
        """Return the record of the run that made ``into``, if a frame's ``attrs`` have one."""
        record = attrs.get(RUNS, {}).get(into)
        return None if record is None else cls(**record)

    @staticmethod
    def names_beside(frame: pd.DataFrame, into: str) -> list[str]:
        """Return the names of columns that the last run of ``into`` made beside it, such as confidences.

        Fields that extract made are values of their own and not among them.
        """
        record = frame.attrs.get(RUNS, {}).get(into, {})
        if record.get("verb") == "extract":
            return []
        return [name for name in record.get("columns", ()) if name != into]

    @staticmethod
    def names_written_since(frame: pd.DataFrame, into: str) -> set[str]:
        """Return the names of columns that the run of ``into`` made, and those that came after it."""
        runs = frame.attrs.get(RUNS, {})
        since = list(runs).index(into)
        return {name for record in list(runs.values())[since:] for name in record["columns"]}

    def added_to(self, attrs: Mapping[Any, Any], into: str) -> dict[Any, Any]:
        """Return a frame's ``attrs`` with this record under ``into``, the last of all."""
        others = {name: record for name, record in attrs.get(RUNS, {}).items() if name != into}
        return {**attrs, RUNS: {**others, into: dataclasses.asdict(self)}}

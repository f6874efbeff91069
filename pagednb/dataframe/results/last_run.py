"""The run over rows that was started last, however it ended: ``pagednb.last_run()``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from pagednb import runtime
from pagednb.dataframe.results.figures import RunFigures
from pagednb.errors import OptionError

_NAME = "last_run"


@dataclasses.dataclass(frozen=True)
class LastRun:
    """What was run and what it gave.

    Attributes:
        spec: all that decided the values, beside the rows, as JSON types.
        figures: counts of the run; they grow while it runs.
        place: gives ``frame``.
    """

    spec: Mapping[str, Any]
    figures: RunFigures
    place: Callable[[], Any]

    @property
    def frame(self) -> Any:
        """The verb's result, with NA for rows that were not done; a new copy each time. A Series for a Series' verb."""
        return self.place()

    def __repr__(self) -> str:
        return f"<pagednb run: {self.spec.get('verb')}, {self.figures.rows_done}/{self.figures.rows} rows done>"


def last_run() -> LastRun:
    """Return the run that was started last in this process, an interrupted one too.

    Raises:
        OptionError: there was none.
    """
    run: LastRun | None = runtime.kept(_NAME, lambda: None)
    if run is None:
        raise OptionError("Nothing was run over rows yet.", hint="Call a verb first, such as df.llm.generate(...).")
    return run


def remember(run: LastRun) -> None:
    """Make ``run`` the last one."""
    runtime.keep(_NAME, run)

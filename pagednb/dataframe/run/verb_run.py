"""What a verb wants run: rows, a task, and how its values become columns. ``start_run`` takes it from there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pagednb.dataframe.kept.kept_rows import KeptRows
from pagednb.dataframe.prompts.model_prompt import Chat
from pagednb.dataframe.prompts.row_prompts import RowPrompts
from pagednb.dataframe.results.failures import ErrorPolicy, listed_failures, report_failures
from pagednb.dataframe.results.outcome import RowOutcome
from pagednb.dataframe.results.record import RunRecord
from pagednb.dataframe.rows.verb_rows import Target, VerbRows
from pagednb.dataframe.run.task import RowTask
from pagednb.errors import OptionError
from pagednb.structured_output.field_spec import FieldSpec

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

Result = TypeVar("Result")


def nothing(kept: KeptRows) -> None:
    """Prepare nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerbRun(Generic[Result]):
    """A run, and what is made of its outcome.

    Attributes:
        task: what a row asks, and what its answer means.
        spec: what the verb was asked, as JSON types: verb, template and so on. The rest is added by ``start_run``.
        place: makes the verb's result from an outcome, whole or partial; warns of nothing.
        report: warns or raises for the rows that failed.
        prepare: what runs before the rows, on their thread and with what they may take answers from.
    """

    engine: LLMEngine
    prompts: RowPrompts
    task: RowTask[Any]
    chat: Chat
    spec: Mapping[str, Any]
    place: Callable[[RowOutcome[Any]], Result]
    report: Callable[[RowOutcome[Any]], None]
    prepare: Callable[[KeptRows], None] = nothing


def no_notes(outcome: RowOutcome[Any]) -> dict[int, str]:
    """Return no reasons beside those of failed rows."""
    return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnVerb:
    """A verb that adds columns to its rows.

    Attributes:
        template: as the caller gave it.
        columns: makes the new columns by name from an outcome.
        prepare: as of ``VerbRun``.
        words: what the verb puts before the template, for a checkpoint to compare.
        made: names of the columns that hold values; not given, the target's.
        beside: names of those that say more of the values, such as confidences.
        holds: what the objects in a column are, where that is known whatever the rows hold.
        notes: reasons for values that are withheld from rows which did not fail.
        details: what the figures, and the record for ``retry``, tell of the verb, as JSON types.
    """

    rows: VerbRows
    engine: LLMEngine
    prompts: RowPrompts
    task: RowTask[Any]
    chat: Chat
    template: object
    target: Target
    errors: ErrorPolicy
    columns: Callable[[RowOutcome[Any]], Mapping[str, Any]]
    prepare: Callable[[KeptRows], None] = nothing
    words: str = ""
    made: Sequence[str] | None = None
    beside: Sequence[str] = ()
    holds: Mapping[str, FieldSpec] = dataclasses.field(default_factory=dict)
    notes: Callable[[RowOutcome[Any]], Mapping[int, str]] = no_notes
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def as_run(self) -> VerbRun[Any]:
        """Return the run.

        Raises:
            OptionError: a column would be lost that no run of this name made.
        """
        self._refuse_taken()
        return VerbRun(
            engine=self.engine,
            prompts=self.prompts,
            task=self.task,
            chat=self.chat,
            spec={**self._asked(), **({"words": self.words} if self.words else {})},
            place=self._place,
            prepare=self.prepare,
            report=lambda outcome: report_failures(self.rows, outcome, self.target.into, self.errors),
        )

    def _refuse_taken(self) -> None:
        """Columns of values are replaced, and what an earlier run wrote beside them; other columns are the caller's."""
        into, taken = self.target.into, set(self.rows.columns.get_level_values(0))
        made = [into] if self.made is None else self.made
        record = RunRecord.found(self.rows.data.attrs, into)
        if not taken.isdisjoint(made) or (record is not None and not set(record.columns).isdisjoint(made)):
            return
        for name in (*self.beside, f"{into}_error"):
            if name in taken:
                raise OptionError(
                    f"The frame has a column {name!r}, which would be lost, and none called {made[0]!r}.",
                    hint="Give another name with into=, or drop the column.",
                )

    def _asked(self) -> dict[str, Any]:
        template = self.template if self.template is None else str(self.template)
        return {"verb": self.task.name, "template": template}

    def _place(self, outcome: RowOutcome[Any]) -> Any:
        reasons = {**outcome.errors, **self.notes(outcome)}
        told = {"system": self.chat.system, "failures": listed_failures(reasons), **self._asked(), **self.details}
        figures = outcome.figures.as_attrs(model=self.engine.resolved.name, params=self.task.params, **told)
        return self.rows.placed(self.columns(outcome), self.target, reasons, figures, self.holds)

"""One run of ``agg``: rounds of calls through the row job, and figures that add up over them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pagednb.dataframe.aggregation.groups import RowGroups
from pagednb.dataframe.aggregation.prompt import AggTemplate, GroupPrompt
from pagednb.dataframe.aggregation.reduction import AggCall, CallLimits, Group, Reduction
from pagednb.dataframe.aggregation.rows import AggRows
from pagednb.dataframe.kept.kept_rows import KeptRows
from pagednb.dataframe.prompts.row_prompts import RowPrompts
from pagednb.dataframe.results.figures import RunFigures
from pagednb.dataframe.results.outcome import RowOutcome
from pagednb.dataframe.run.progress import Watch
from pagednb.dataframe.run.row_job import run_rows
from pagednb.errors import PagednbError

if TYPE_CHECKING:
    from pagednb.dataframe.run.verb_run import VerbRun

_ADDED_UP = (
    "computed",
    "duplicates",
    "resumed",
    "reused",
    "cut_at_max_tokens",
    "submitted_tokens",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "finished",
)


@dataclasses.dataclass(frozen=True)
class AggRun:
    """What ``conduct`` executes: groups of rows, and how calls about them read and how long they may be."""

    verb: VerbRun[Any]
    template: AggTemplate
    groups: RowGroups
    limits: CallLimits

    def empty_outcome(self) -> RowOutcome[str]:
        """Return an outcome by group; its figures count rows of the frame."""
        prompts = self.verb.prompts
        figures = RunFigures(rows=prompts.num_rows, missing=prompts.num_missing, rows_done=prompts.num_missing)
        return RowOutcome([None] * len(self.groups), {}, figures)

    def execute(self, outcome: RowOutcome[str], kept: KeptRows, watch: Watch) -> None:
        """Fill the outcome.

        Raises:
            OptionError: as ``Reduction.run``, or a system message for a model without a place for it.
        """
        engine, chat, prompts = self.verb.engine, self.verb.chat, self.verb.prompts
        chat.require_place(engine)
        totals = _Totals(outcome.figures, watch)
        rows = AggRows.measured(engine, _with_template(prompts, self.template), totals.tell)
        reduction = Reduction(engine, chat, rows, self._groups(), limits=self.limits, outcome=outcome)

        def ask(calls: Sequence[AggCall]) -> RowOutcome[str]:
            answered = run_rows(
                engine,
                ((index, call.text()) for index, call in enumerate(calls)),
                self.verb.task,
                num_rows=len(calls),
                chat=chat,
                watch=totals.add,
                kept=kept,
                unit="calls of this round",
            )
            totals.end_round()
            return answered

        reduction.run(ask)
        totals.finish()

    def _groups(self) -> list[Group]:
        return [Group(rows, self._prompt(rows)) for rows in self.groups.split(self.verb.prompts.positions)]

    def _prompt(self, positions: np.ndarray) -> GroupPrompt | str:
        """Return a group's prompts, whose fixed fields are those of its first row, or why there are none."""
        if not len(positions):
            return ""
        template, prompts = self.template, self.verb.prompts
        columns = dict(zip(prompts.template.names, prompts.columns, strict=True))
        try:
            head, tail = (
                part.render([columns[name].iloc[positions[0]] for name in part.names])
                for part in (template.head, template.tail)
            )
        except PagednbError as error:
            return error.message
        return GroupPrompt(head, tail, template.separator, template.combine)


def _with_template(prompts: RowPrompts, template: AggTemplate) -> RowPrompts:
    """Return the prompts of single rows: the part of the template that differs between them."""
    columns = dict(zip(prompts.template.names, prompts.columns, strict=True))
    return dataclasses.replace(prompts, template=template.row, columns=[columns[name] for name in template.row.names])


class _Totals:
    """Adds the figures of rounds up. A row counts as done when the call that reads it is: later rounds are short."""

    def __init__(self, figures: RunFigures, watch: Callable[[RunFigures], None]) -> None:
        self._figures = figures
        self._watch = watch
        self._before = dict.fromkeys(_ADDED_UP, 0)
        self._is_first_round = True
        self._start_s = time.perf_counter()

    def add(self, round_figures: RunFigures) -> None:
        """Show a round that is under way."""
        for name, before in self._before.items():
            setattr(self._figures, name, before + getattr(round_figures, name))
        if self._is_first_round:
            num_to_read = self._figures.rows - self._figures.missing
            share = round_figures.rows_done / max(round_figures.rows, 1)
            self._figures.rows_a_prompt = max(num_to_read / max(round_figures.rows, 1), 1.0)
            # the last row is done when the run is
            self._figures.rows_done = self._figures.missing + min(int(share * num_to_read), num_to_read - 1)
        self.tell()

    def tell(self) -> None:
        """Show the figures as they are."""
        self._figures.seconds = time.perf_counter() - self._start_s
        self._watch(self._figures)

    def end_round(self) -> None:
        """Let the next round begin."""
        self._before = {name: getattr(self._figures, name) for name in _ADDED_UP}
        self._is_first_round = False

    def finish(self) -> None:
        """All is done."""
        self._figures.rows_done = self._figures.rows
        self.tell()

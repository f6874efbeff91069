"""Runs prompts through the engine row by row: bounded, deduplicated, one bad row never spoiling the rest.

The verb hands in a task and an iterator of rendered prompts; the job encodes a chunk, submits it, collects what is
finished, and goes on, so the engine runs from the first chunk and at most ``max_pending`` prompts wait in it however
many rows come. Knows no pandas, no templates and no verbs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from pagednb.dataframe.kept.kept_rows import KeptRows
from pagednb.dataframe.prompts.chunks import CHUNK_ROWS, Prompt, chunks_of, why_unrunnable
from pagednb.dataframe.prompts.model_prompt import PLAIN_CHAT, Chat
from pagednb.dataframe.results.figures import RunFigures
from pagednb.dataframe.results.outcome import RowOutcome
from pagednb.dataframe.run.encoder import EncodedRow, PromptEncoder, Truncation
from pagednb.dataframe.run.equal_rows import EqualRows
from pagednb.dataframe.run.rows_under_way import RowsUnderWay
from pagednb.dataframe.run.task import Answer, RowFailure, RowTask
from pagednb.errors import PagednbError
from pagednb.interrupts import keeping_interrupts, show_note

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

MIN_PENDING_ROWS = 1024
POLL_S = 0.1
Value = TypeVar("Value")


def run_rows(
    engine: LLMEngine,
    prompts: Iterator[Prompt],
    task: RowTask[Value],
    *,
    num_rows: int,
    num_missing: int = 0,
    chat: Chat = PLAIN_CHAT,
    watch: Callable[[RunFigures], None] = lambda figures: None,
    kept: KeptRows | None = None,
    truncation: Truncation | None = None,
    outcome: RowOutcome[Value] | None = None,
    unit: str = "",
) -> RowOutcome[Value]:
    """Compute one value per prompt. Rows that cannot be run are in ``errors``; the others are not disturbed.

    A model with a chat template sees messages, any other the text as it stands. ``kept`` answers
    rows that earlier runs computed, and gets those of this run, whatever ends it. ``outcome`` is filled as rows are
    done, for those who look in from outside. ``unit`` says what is counted, if that is not rows.

    Raises:
        OptionError: a system message for a model without chat template.
        KeyboardInterrupt: as it came, with a note on how many rows were done; only this job's prompts are aborted.
    """
    chat.require_place(engine)
    outcome = outcome or RowOutcome.empty(num_rows=num_rows, num_missing=num_missing)
    kept = kept or KeptRows()
    encoder = PromptEncoder(engine, task.questions, chat=chat, truncation=truncation)
    job = _RowJob(engine, task, encoder, outcome, watch=watch, kept=kept)
    try:
        job.run(prompts)
    except KeyboardInterrupt as interrupt:
        show_note(interrupt, _how_far(outcome.figures, unit, will_resume=kept.will_resume))
        raise
    return outcome


class _RowJob(Generic[Value]):
    """The state of one run. A position is a row's place in the frame."""

    def __init__(
        self,
        engine: LLMEngine,
        task: RowTask[Value],
        encoder: PromptEncoder,
        outcome: RowOutcome[Value],
        *,
        watch: Callable[[RunFigures], None],
        kept: KeptRows,
    ) -> None:
        self._values = outcome.values
        self._errors = outcome.errors
        self._figures = outcome.figures
        self._kept = kept
        self._engine = engine
        self._task = task
        self._encoder = encoder
        self._watch = watch
        self._start_s = time.perf_counter()
        self._max_pending = max(MIN_PENDING_ROWS, 2 * engine.max_num_seqs)
        self._equal_rows = EqualRows()

    def run(self, prompts: Iterator[Prompt]) -> None:
        try:
            with self._engine.open_call(returns_prompts=False, pooling=self._task.pooling) as call:
                under_way = RowsUnderWay(call, self._figures)
                for chunk in chunks_of(prompts):
                    with keeping_interrupts():
                        self._submit(under_way, self._drop_unrunnable(chunk))
                    self._collect(under_way, 0)
                    self._collect_until(under_way, self._max_pending - CHUNK_ROWS)
                self._collect_until(under_way, 0)
        finally:
            self._kept.write()
        self._tell()

    def _drop_unrunnable(self, chunk: list[Prompt]) -> list[tuple[int, str]]:
        """The rows that need the engine: neither failed nor empty nor the same as an earlier one."""
        runnable = []
        for position, text in chunk:
            if isinstance(text, PagednbError):
                self._fail(position, text.message)
            elif (reason := why_unrunnable(text)) is not None:
                self._fail(position, reason)
            elif not self._follows_earlier(position, text) and not self._resumes(position, text):
                runnable.append((position, text))
        return runnable

    def _follows_earlier(self, position: int, text: str) -> bool:
        """Whether an earlier row has the same prompt and answers for this one too."""
        if not self._task.is_deterministic:
            return False
        first = self._equal_rows.first_of(position, text)
        if first is None:
            return False
        self._figures.duplicates += 1
        if self._equal_rows.is_settled(first):
            self._settle(position, self._values[first], self._errors.get(first))
        return True

    def _resumes(self, position: int, text: str) -> bool:
        """Whether an earlier run left this row's answer in the checkpoint."""
        answer = self._kept.resume(position, text)
        if answer is None:
            return False
        self._figures.resumed += 1
        self._settle_answer(position, answer)
        return True

    def _reuses(self, row: EncodedRow) -> bool:
        """Whether the result cache holds this row's answer."""
        answer = self._kept.recall(row.position, [prompt.token_ids for prompt in row.prompts])
        if answer is None:
            return False
        self._figures.reused += 1
        self._settle_answer(row.position, answer)
        return True

    def _submit(self, under_way: RowsUnderWay, rows: list[tuple[int, str]]) -> None:
        encoded, failures = self._encoder.encode(rows)
        for position, reason in failures.items():
            self._fail(position, reason)
        asked = []
        for row in encoded:
            self._figures.truncated += row.is_cut
            if self._reuses(row):
                continue
            try:
                asked.append((row.position, self._task.requests(row.prompts)))
            except RowFailure as failure:
                self._fail(row.position, failure.message)
        for position, refusal in under_way.ask(asked):
            self._fail(position, refusal.message)

    def _collect(self, under_way: RowsUnderWay, timeout_s: float) -> None:
        with keeping_interrupts():
            for position, answer in under_way.poll(timeout_s):
                if isinstance(answer, PagednbError):
                    self._fail(position, answer.message)
                else:
                    self._settle_answer(position, answer, is_new=True)
            self._tell()

    def _collect_until(self, under_way: RowsUnderWay, num_requests: int) -> None:
        while under_way.num_requests > num_requests:
            self._collect(under_way, POLL_S)

    def _settle_answer(self, position: int, answer: Answer, *, is_new: bool = False) -> None:
        if answer[0].outputs[0].finish_reason == "length":
            self._figures.cut_at_max_tokens += 1
        try:
            value = self._task.value(answer)
        except RowFailure as failure:
            if is_new and self._task.is_deterministic:  # another run would get the same answer again
                self._kept.keep(position, answer)
            elif is_new:
                self._kept.keep_failure(position, failure.message)
            self._settle(position, None, failure.message)
        else:
            if is_new:
                self._kept.keep(position, answer)
            self._settle(position, value, None)

    def _fail(self, position: int, reason: str) -> None:
        self._kept.keep_failure(position, reason)
        self._settle(position, None, reason)

    def _settle(self, position: int, value: Value | None, reason: str | None) -> None:
        """Write the result of a row, and of the rows that waited for it."""
        for row in (position, *self._equal_rows.settle(position)):
            self._values[row] = value
            self._figures.rows_done += 1
            if reason is not None:
                self._errors[row] = reason
                self._figures.failed += 1

    def _tell(self) -> None:
        self._figures.seconds = time.perf_counter() - self._start_s
        self._kept.write_if_due()
        self._watch(self._figures)


def _how_far(figures: RunFigures, unit: str, *, will_resume: bool) -> str:
    done = f"{figures.rows_done}/{figures.rows} {unit} done" if unit else f"{figures.rows_done}/{figures.rows} done"
    if will_resume:
        return f"{done}, run the cell again to resume."
    return f"{done}; pagednb.last_run().frame holds them."

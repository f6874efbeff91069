"""Runs prompts through the engine row by row: bounded, deduplicated, one bad row never spoiling the rest.

The accessor hands in an iterator of rendered prompts; the job encodes a chunk, submits it, collects what is finished,
and goes on, so the engine runs from the first chunk and at most ``max_pending`` prompts wait in it however many rows
come. Knows no pandas and no templates.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pagednb.dataframe.kept_rows import KeptRows
from pagednb.dataframe.model_prompt import as_model_sees_it, encode_prompts, require_chat_template_for
from pagednb.dataframe.report import RunFigures
from pagednb.engine.interrupts import keeping_interrupts
from pagednb.errors import ContextLengthError, PagednbError, PromptError
from pagednb.outputs import RequestOutput
from pagednb.sampling_params import SamplingParams

if TYPE_CHECKING:
    import numpy as np

    from pagednb.engine.call import Call
    from pagednb.engine.llm_engine import LLMEngine

CHUNK_ROWS = 256
"""Rows encoded at once: large enough for the tokenizer's batch speed, small enough that the engine never waits long."""

CHUNK_CHARS = 1_000_000
"""A chunk of longer rows ends here: the tokenizer hears no interrupt, so a batch must take well under 0.5 s."""

MIN_PENDING_ROWS = 1024
POLL_S = 0.1

Prompt = tuple[int, str | PagednbError]
"""Position of a row and its text, or why it has none."""


@dataclasses.dataclass(frozen=True)
class RowOutcome:
    """Results by row position: ``texts[i]`` is None when row i is missing or failed; ``errors`` names the failed."""

    texts: list[str | None]
    errors: dict[int, str]
    figures: RunFigures

    @classmethod
    def empty(cls, *, num_rows: int, num_missing: int = 0, num_not_sampled: int = 0) -> RowOutcome:
        """Return the outcome of a run that has not begun; ``run_rows`` fills it in place."""
        left_out = {"missing": num_missing, "not_sampled": num_not_sampled}
        figures = RunFigures(rows=num_rows, **left_out, rows_done=num_missing + num_not_sampled)
        return cls([None] * num_rows, {}, figures)

    def copy(self) -> RowOutcome:
        """Return this moment's state of an outcome that another thread fills."""
        return RowOutcome(list(self.texts), dict(self.errors), dataclasses.replace(self.figures))


@dataclasses.dataclass(frozen=True)
class Truncation:
    """How rows that are too long become shorter.

    ``shorten`` gets a row's position and a question, whether a text fits; it returns the row's longest prompt that
    does, or None. A prompt fits with ``max_prompt_tokens``.
    """

    shorten: Callable[[int, Callable[[str], bool]], str | None]
    max_prompt_tokens: int


def run_rows(
    engine: LLMEngine,
    prompts: Iterator[Prompt],
    params: SamplingParams,
    *,
    num_rows: int,
    num_missing: int = 0,
    system: str | None = None,
    watch: Callable[[RunFigures], None] = lambda figures: None,
    kept: KeptRows | None = None,
    truncation: Truncation | None = None,
    outcome: RowOutcome | None = None,
) -> RowOutcome:
    """Generate one text per prompt. Rows that cannot be run are in ``errors``; the others are not disturbed.

    A model with a chat template sees ``[system, user]`` messages, any other the text as it stands. ``kept`` answers
    rows that earlier runs computed, and gets those of this run, whatever ends it. ``outcome`` is filled as rows are
    done, for those who look in from outside.

    Raises:
        OptionError: a system message for a model without chat template.
        KeyboardInterrupt: as it came, with a note on how many rows were done; only this job's prompts are aborted.
    """
    require_chat_template_for(system, engine)
    outcome = outcome or RowOutcome.empty(num_rows=num_rows, num_missing=num_missing)
    kept = kept or KeptRows()
    job = _RowJob(engine, params, outcome, system=system, watch=watch, kept=kept, truncation=truncation)
    try:
        job.run(prompts)
    except KeyboardInterrupt as interrupt:
        note = _how_far(outcome.figures, will_resume=kept.will_resume)
        interrupt.add_note(note)
        # what IPython shows instead of our stack, whose formatting can take longer than the interrupt itself
        interrupt._render_traceback_ = lambda: [f"KeyboardInterrupt: {note}"]  # type: ignore[attr-defined]
        raise
    return outcome


class _RowJob:
    """The state of one run. A position is a row's place in the frame, and its key in the engine call."""

    def __init__(
        self,
        engine: LLMEngine,
        params: SamplingParams,
        outcome: RowOutcome,
        *,
        system: str | None,
        watch: Callable[[RunFigures], None],
        kept: KeptRows,
        truncation: Truncation | None,
    ) -> None:
        self._texts = outcome.texts
        self._errors = outcome.errors
        self._figures = outcome.figures
        self._kept = kept
        self._truncation = truncation
        self._engine = engine
        self._params = params
        self._system = system
        self._watch = watch
        self._start_s = time.perf_counter()
        self._max_pending = max(MIN_PENDING_ROWS, 2 * engine.max_num_seqs)
        # digest of a prompt -> the first row that has it; rows that wait for that row's result
        self._digest_to_first: dict[bytes, int] = {}
        self._first_to_followers: dict[int, list[int]] = {}

    def run(self, prompts: Iterator[Prompt]) -> None:
        try:
            with self._engine.open_call() as call:
                for chunk in _chunks(prompts):
                    with keeping_interrupts():
                        self._submit(call, self._drop_unrunnable(chunk))
                    self._collect(call, 0)
                    self._collect_until(call, self._max_pending - CHUNK_ROWS)
                self._collect_until(call, 0)
        finally:
            self._kept.write()
        self._tell()

    def _drop_unrunnable(self, chunk: list[Prompt]) -> list[tuple[int, str]]:
        """The rows that need the engine: neither failed nor empty nor the same as an earlier one."""
        runnable = []
        for position, text in chunk:
            if isinstance(text, PagednbError):
                self._fail(position, text.message)
            elif not text or text.isspace():
                self._fail(position, "The prompt is empty.")
            elif (data := _utf8(text)) is None:
                self._fail(position, "The text is not valid Unicode (it holds a lone surrogate).")
            elif not self._follows_earlier(position, data) and not self._resumes(position, text):
                runnable.append((position, text))
        return runnable

    def _follows_earlier(self, position: int, data: bytes) -> bool:
        """Whether an earlier row has the same prompt and answers for this one too."""
        if not self._params.is_deterministic:
            return False
        digest = hashlib.blake2b(data, digest_size=16).digest()
        first = self._digest_to_first.setdefault(digest, position)
        if first == position:
            self._first_to_followers[position] = []
            return False
        self._figures.duplicates += 1
        if first in self._first_to_followers:
            self._first_to_followers[first].append(position)
        else:
            self._settle(position, self._texts[first], self._errors.get(first))
        return True

    def _resumes(self, position: int, text: str) -> bool:
        """Whether an earlier run left this row's answer in the checkpoint."""
        answer = self._kept.resume(position, text)
        if answer is None:
            return False
        self._figures.resumed += 1
        self._settle_output(position, answer[0])
        return True

    def _reuses(self, position: int, token_ids: np.ndarray) -> bool:
        """Whether the result cache holds this row's answer."""
        answer = self._kept.recall(position, token_ids)
        if answer is None:
            return False
        self._figures.reused += 1
        self._settle_output(position, answer[0])
        return True

    def _submit(self, call: Call[int], rows: list[tuple[int, str]]) -> None:
        rendered = []
        for position, text in rows:
            try:
                rendered.append((position, self._as_model_sees_it(text)))
            except PromptError as error:
                self._fail(position, error.message)
        if not rendered:
            return
        texts = [text for _, text in rendered]
        for (position, _), encoded in zip(rendered, self._encode(texts), strict=True):
            token_ids = self._fitting(position, encoded)
            if self._reuses(position, token_ids):
                continue
            try:
                call.submit(position, token_ids, self._params)
            except (ContextLengthError, PromptError) as error:
                self._fail(position, error.message)
            else:
                self._figures.computed += 1
                self._figures.submitted_tokens += len(token_ids)

    def _encode(self, texts: list[str]) -> list[np.ndarray]:
        return encode_prompts(self._engine, texts)

    def _fitting(self, position: int, token_ids: np.ndarray) -> np.ndarray:
        """The prompt's tokens, of a shorter prompt if they are too many; as they are where nothing helps."""
        truncation = self._truncation
        if truncation is None or len(token_ids) <= truncation.max_prompt_tokens:
            return token_ids

        def fits(text: str) -> bool:
            return len(self._encode([self._as_model_sees_it(text)])[0]) <= truncation.max_prompt_tokens

        text = truncation.shorten(position, fits)
        if text is None:
            return token_ids
        self._figures.truncated += 1
        return self._encode([self._as_model_sees_it(text)])[0]

    def _as_model_sees_it(self, text: str) -> str:
        return as_model_sees_it(self._engine, text, self._system)

    def _collect(self, call: Call[int], timeout_s: float) -> None:
        with keeping_interrupts():
            for position, output in call.poll(timeout_s):
                self._figures.count_finished(output)
                if output.outputs[0].finish_reason != "abort":
                    self._kept.keep(position, [output])
                self._settle_output(position, output)
            self._tell()

    def _collect_until(self, call: Call[int], num_pending: int) -> None:
        while call.num_pending > num_pending:
            self._collect(call, POLL_S)

    def _settle_output(self, position: int, output: RequestOutput) -> None:
        completion = output.outputs[0]
        if completion.finish_reason == "abort":
            self._fail(position, "The request was aborted.")
            return
        if completion.finish_reason == "length":
            self._figures.cut_at_max_tokens += 1
        self._settle(position, completion.text, None)

    def _fail(self, position: int, reason: str) -> None:
        self._kept.keep_failure(position, reason)
        self._settle(position, None, reason)

    def _settle(self, position: int, text: str | None, reason: str | None) -> None:
        """Write the result of a row, and of the rows that waited for it."""
        for row in (position, *self._first_to_followers.pop(position, ())):
            self._texts[row] = text
            self._figures.rows_done += 1
            if reason is not None:
                self._errors[row] = reason
                self._figures.failed += 1

    def _tell(self) -> None:
        self._figures.seconds = time.perf_counter() - self._start_s
        self._kept.write_if_due()
        self._watch(self._figures)


def _how_far(figures: RunFigures, *, will_resume: bool) -> str:
    done = f"{figures.rows_done}/{figures.rows} done"
    if will_resume:
        return f"{done}, run the cell again to resume."
    return f"{done}; pagednb.last_run().frame holds them."


def _chunks(prompts: Iterator[Prompt]) -> Iterator[list[Prompt]]:
    chunk: list[Prompt] = []
    num_chars = 0
    for prompt in prompts:
        chunk.append(prompt)
        num_chars += len(prompt[1]) if isinstance(prompt[1], str) else 0
        if len(chunk) == CHUNK_ROWS or num_chars >= CHUNK_CHARS:
            yield chunk
            chunk, num_chars = [], 0
    if chunk:
        yield chunk


def _utf8(text: str) -> bytes | None:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None

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

from pagednb.dataframe.report import RunFigures
from pagednb.engine.interrupts import keeping_interrupts
from pagednb.errors import ContextLengthError, OptionError, PagednbError, PromptError
from pagednb.outputs import RequestOutput
from pagednb.sampling_params import SamplingParams

if TYPE_CHECKING:
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


def run_rows(
    engine: LLMEngine,
    prompts: Iterator[Prompt],
    params: SamplingParams,
    *,
    num_rows: int,
    num_missing: int = 0,
    system: str | None = None,
    watch: Callable[[RunFigures], None] = lambda figures: None,
) -> RowOutcome:
    """Generate one text per prompt. Rows that cannot be run are in ``errors``; the others are not disturbed.

    A model with a chat template sees ``[system, user]`` messages, any other the text as it stands.

    Raises:
        OptionError: a system message for a model without chat template.
        KeyboardInterrupt: as it came, with a note on how many rows were done; only this job's prompts are aborted.
    """
    if system is not None and not engine.has_chat_template:
        raise OptionError("This model has no chat template, so it takes no system message.", hint="Leave out system=.")
    figures = RunFigures(rows=num_rows, missing=num_missing, rows_done=num_missing)
    job = _RowJob(engine, params, figures, system, watch)
    try:
        job.run(prompts)
    except KeyboardInterrupt as interrupt:
        note = f"{figures.rows_done}/{num_rows} rows were done."
        interrupt.add_note(note)
        # what IPython shows instead of our stack, whose formatting can take longer than the interrupt itself
        interrupt._render_traceback_ = lambda: [f"KeyboardInterrupt: {note}"]  # type: ignore[attr-defined]
        raise
    return RowOutcome(job.texts, job.errors, figures)


class _RowJob:
    """The state of one run. A position is a row's place in the frame, and its key in the engine call."""

    def __init__(
        self,
        engine: LLMEngine,
        params: SamplingParams,
        figures: RunFigures,
        system: str | None,
        watch: Callable[[RunFigures], None],
    ) -> None:
        self.texts: list[str | None] = [None] * figures.rows
        self.errors: dict[int, str] = {}
        self._engine = engine
        self._params = params
        self._figures = figures
        self._system = system
        self._watch = watch
        self._start_s = time.perf_counter()
        self._max_pending = max(MIN_PENDING_ROWS, 2 * engine.max_num_seqs)
        # digest of a prompt -> the first row that has it; rows that wait for that row's result
        self._digest_to_first: dict[bytes, int] = {}
        self._first_to_followers: dict[int, list[int]] = {}

    def run(self, prompts: Iterator[Prompt]) -> None:
        with self._engine.open_call() as call:
            for chunk in _chunks(prompts):
                with keeping_interrupts():
                    self._submit(call, self._drop_unrunnable(chunk))
                self._collect(call, 0)
                self._collect_until(call, self._max_pending - CHUNK_ROWS)
            self._collect_until(call, 0)
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
            elif not self._follows_earlier(position, data):
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
            self._settle(position, self.texts[first], self.errors.get(first))
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
        # a chat template writes its special tokens itself
        texts = [text for _, text in rendered]
        encoded = self._engine.encode(texts, add_special_tokens=not self._engine.has_chat_template)
        for (position, _), token_ids in zip(rendered, encoded, strict=True):
            try:
                call.submit(position, token_ids, self._params)
            except (ContextLengthError, PromptError) as error:
                self._fail(position, error.message)
            else:
                self._figures.computed += 1
                self._figures.submitted_tokens += len(token_ids)

    def _as_model_sees_it(self, text: str) -> str:
        if not self._engine.has_chat_template:
            return text
        messages = [{"role": "user", "content": text}]
        if self._system is not None:
            messages.insert(0, {"role": "system", "content": self._system})
        return self._engine.render_chat(messages)

    def _collect(self, call: Call[int], timeout_s: float) -> None:
        with keeping_interrupts():
            for position, output in call.poll(timeout_s):
                self._figures.count_finished(output)
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
        self._settle(position, None, reason)

    def _settle(self, position: int, text: str | None, reason: str | None) -> None:
        """Write the result of a row, and of the rows that waited for it."""
        for row in (position, *self._first_to_followers.pop(position, ())):
            self.texts[row] = text
            self._figures.rows_done += 1
            if reason is not None:
                self.errors[row] = reason
                self._figures.failed += 1

    def _tell(self) -> None:
        self._figures.seconds = time.perf_counter() - self._start_s
        self._watch(self._figures)


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

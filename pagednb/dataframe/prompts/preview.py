"""``df.llm.preview``: what a run would send, before anything is sent. Uses the tokenizer, never the model."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from pagednb.checks import is_whole, require
from pagednb.dataframe.prompts.chunks import why_unrunnable
from pagednb.dataframe.prompts.model_prompt import Chat, as_model_sees_it, encode_prompts
from pagednb.dataframe.prompts.row_prompts import RowPrompts
from pagednb.dataframe.prompts.truncation import TruncateOption, check_truncate, prompt_limit
from pagednb.dataframe.results.html_table import html_table
from pagednb.dataframe.results.measured_speed import last_speed
from pagednb.dataframe.results.whole_text import whole_text
from pagednb.errors import PagednbError

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

MAX_COUNTED_PROMPTS = 4096
"""Prompts whose tokens are counted: about a second of work. Of more, so many at even distances."""

CHUNK_PROMPTS = 256


@dataclasses.dataclass(frozen=True)
class PromptPreview:
    """One row: its prompt as the model would see it, with its tokens. ``note`` says why it fails or that it is cut."""

    row: int
    prompt: str
    tokens: int
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Preview:
    """What a run over these rows would be.

    Attributes:
        prompts: the first rows with prompts.
        num_rows, num_missing: rows, and those with NA in a used column, which are not sent.
        num_distinct: different prompts; with deterministic answers only these are computed.
        num_failing: rows whose template fails or whose prompt is empty.
        num_counted: prompts whose tokens were counted; figures of tokens are about these.
        num_too_long: of the counted prompts, those that do not fit the model.
        mean_tokens, max_tokens: tokens of a counted prompt, after cutting.
        estimated_s: time of the run at the last measured speed of this verb; None if not known yet.
    """

    prompts: tuple[PromptPreview, ...]
    num_rows: int
    num_missing: int
    num_distinct: int
    num_failing: int
    num_counted: int
    num_too_long: int
    mean_tokens: float
    max_tokens: int
    truncate: str
    estimated_s: float | None

    @property
    def frame(self) -> pd.DataFrame:
        """The shown prompts as a frame, a row each."""
        names = [field.name for field in dataclasses.fields(PromptPreview)]
        return pd.DataFrame([dataclasses.astuple(prompt) for prompt in self.prompts], columns=names)

    def __repr__(self) -> str:
        parts = [f"{name:<9} {value}" for name, value in self._lines()]
        for prompt in self.prompts:
            note = f" · {prompt.note}" if prompt.note else ""
            parts.append(f"\nrow {prompt.row} · {prompt.tokens:,} tokens{note}\n{prompt.prompt}")
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        facts = html_table((), self._lines(), texts=(0, 1))
        rows = [(prompt.row, f"{prompt.tokens:,}", prompt.prompt) for prompt in self.prompts]
        if not any(prompt.note for prompt in self.prompts):
            return facts + html_table(("row", "tokens", "prompt"), rows, texts=(2,))
        noted = [(*row, prompt.note) for row, prompt in zip(rows, self.prompts, strict=True)]
        return facts + html_table(("row", "tokens", "prompt", "note"), noted, texts=(2, 3))

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "rows", f"{self.num_rows:,} ({self.num_missing:,} with NA are not sent)"
        failing = f", {self.num_failing:,} rows without a prompt fail" if self.num_failing else ""
        yield "prompts", f"{self.num_distinct:,} different{failing}"
        about = "" if self.num_counted >= self.num_distinct else f" (of {self.num_counted:,} that were counted)"
        yield "tokens", f"{self.mean_tokens:,.0f} a prompt, {self.max_tokens:,} at most{about}"
        if self.num_too_long:
            happens = "fail" if self.truncate == "error" else f"are cut ({self.truncate})"
            yield "too long", f"{self.num_too_long:,} prompts {happens}{about}"
        seconds = self.estimated_s
        known = "not known yet; a run with sample=20 measures it" if seconds is None else f"about {_duration(seconds)}"
        yield "time", known


def preview_rows(
    engine: LLMEngine,
    prompts: RowPrompts,
    *,
    verb: str,
    n: int,
    chat: Chat,
    max_tokens: int,
    truncate: TruncateOption,
) -> Preview:
    """Render all rows, count tokens, show the first ``n``. ``verb`` says whose speed is expected.

    Raises:
        OptionError: ``n`` or ``max_tokens`` is no whole number, ``truncate`` unknown, or a system message without a
            chat template.
    """
    require(is_whole(n) and n >= 0, "n", n, "how many prompts to show, such as 3")
    require(is_whole(max_tokens) and max_tokens > 0, "max_tokens", max_tokens, "a whole number of at least 1")
    check_truncate(truncate)
    chat.require_place(engine)
    speed = last_speed(engine, verb)
    looker = _Looker(engine, prompts, chat, max_tokens, truncate)
    shown = tuple(looker.look(position, text) for position, text in itertools.islice(prompts, n))
    texts: dict[str, None] = {}
    num_failing = 0
    for _, text in prompts:
        if isinstance(text, PagednbError) or why_unrunnable(text) is not None:
            num_failing += 1
        else:
            texts[text] = None
    counts = looker.counts(list(texts))
    fitting = [min(count, looker.limit) if truncate != "error" else count for count in counts]
    mean = sum(fitting) / len(fitting) if fitting else 0.0
    return Preview(
        prompts=shown,
        num_rows=prompts.num_rows,
        num_missing=prompts.num_missing,
        num_distinct=len(texts),
        num_failing=num_failing,
        num_counted=len(counts),
        num_too_long=sum(count > looker.limit for count in counts),
        mean_tokens=mean,
        max_tokens=max(fitting, default=0),
        truncate=truncate,
        estimated_s=None if speed is None else speed.seconds(len(texts), mean, max_tokens),
    )


class _Looker:
    """Renders and counts prompts of one run."""

    def __init__(
        self, engine: LLMEngine, prompts: RowPrompts, chat: Chat, max_tokens: int, truncate: TruncateOption
    ) -> None:
        self._engine = engine
        self._prompts = prompts
        self._chat = chat
        self._truncate = truncate
        geometry = engine.geometry
        # a run that cuts leaves room for the answer, one that does not fails a prompt that leaves none at all
        self.limit = geometry.max_model_len - 1 if truncate == "error" else prompt_limit(geometry, max_tokens)

    def look(self, position: int, text: str | PagednbError) -> PromptPreview:
        if isinstance(text, PagednbError):
            return PromptPreview(position, "", 0, f"fails: {text.message}")
        if (reason := why_unrunnable(text)) is not None:
            return PromptPreview(position, whole_text(text), 0, f"fails: {reason}")
        try:
            seen = self._seen(text)
            [num_tokens] = self._num_tokens([seen])
        except PagednbError as error:
            return PromptPreview(position, text, 0, f"fails: {error.message}")
        if num_tokens <= self.limit:
            return PromptPreview(position, seen, num_tokens)
        return self._look_at_long(position, seen, num_tokens)

    def _look_at_long(self, position: int, seen: str, num_tokens: int) -> PromptPreview:
        if self._truncate == "error":
            return PromptPreview(position, seen, num_tokens, f"fails: at most {self.limit:,} tokens fit")
        short = self._prompts.shortened(position, self._fits, self._truncate)
        if short is None:
            return PromptPreview(position, seen, num_tokens, "fails: the template alone is too long")
        seen = self._seen(short)
        [short_tokens] = self._num_tokens([seen])
        return PromptPreview(position, seen, short_tokens, f"cut ({num_tokens:,} tokens before)")

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of prompts, at even distances if there are very many."""
        step = max(1, -(-len(texts) // MAX_COUNTED_PROMPTS))
        chosen = texts[::step]
        counts: list[int] = []
        for start in range(0, len(chosen), CHUNK_PROMPTS):
            seen = []
            for text in chosen[start : start + CHUNK_PROMPTS]:
                try:
                    seen.append(self._seen(text))
                except PagednbError:
                    continue  # the run makes it a row's error
            counts += self._num_tokens(seen)
        return counts

    def _fits(self, text: str) -> bool:
        return self._num_tokens([self._seen(text)])[0] <= self.limit

    def _seen(self, text: str) -> str:
        return as_model_sees_it(self._engine, text, self._chat)

    def _num_tokens(self, texts: list[str]) -> list[int]:
        return [len(token_ids) for token_ids in encode_prompts(self._engine, texts, self._chat)] if texts else []


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

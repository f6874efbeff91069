"""What one run over rows did: counted while it runs, shown as progress, kept as ``attrs["pagednb"]``.

The row job counts, progress and accessor read. Knows no pandas.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pagednb.outputs import RequestOutput
from pagednb.sampling_params import SamplingParams


@dataclasses.dataclass(kw_only=True)
class RunFigures:
    """Counts of one run.

    Every row is missing (NA), not sampled, a duplicate, resumed, reused, failed before it ran, or computed.

    Attributes:
        rows: rows of the frame.
        missing: rows with NA in a used column; never sent.
        not_sampled: rows that a trial run leaves out.
        computed: rows whose prompts were sent to the engine.
        duplicates: rows that took the result of an identical prompt.
        resumed: prompts whose answer stood in the checkpoint.
        reused: prompts whose answer stood in the result cache.
        truncated: prompts that were cut to fit.
        failed: rows without a result, for whatever reason but NA.
        cut_at_max_tokens: finished prompts whose text ended because ``max_tokens`` was reached.
        submitted_tokens: prompt tokens sent.
        prompt_tokens, cached_tokens, output_tokens: of finished prompts; cached ones were not computed again.
        finished: computed prompts that have their result.
        rows_done: rows that need nothing more, missing ones and those not sampled included.
        rows_a_prompt: rows that one prompt is about; more than one in ``agg``.
        seconds: since the run began.
    """

    rows: int
    missing: int = 0
    not_sampled: int = 0
    computed: int = 0
    duplicates: int = 0
    resumed: int = 0
    reused: int = 0
    truncated: int = 0
    failed: int = 0
    cut_at_max_tokens: int = 0
    submitted_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    finished: int = 0
    rows_done: int = 0
    rows_a_prompt: float = 1.0
    seconds: float = 0.0

    def count_finished(self, num_prompt_tokens: int, outputs: Sequence[RequestOutput]) -> None:
        """Add one finished row, which asked one thing or several, with so many prompt tokens in all."""
        self.finished += 1
        self.prompt_tokens += num_prompt_tokens
        for output in outputs:
            self.cached_tokens += output.num_cached_tokens
            self.output_tokens += sum(len(completion.token_ids) for completion in output.outputs)

    @property
    def tokens_per_s(self) -> float:
        """Tokens the model computed a second: prompt tokens that were not cached, and output tokens."""
        computed = self.prompt_tokens - self.cached_tokens + self.output_tokens
        return computed / self.seconds if self.seconds > 0 else 0.0

    @property
    def rows_per_s(self) -> float:
        """Rows answered a second, duplicates included, missing ones not."""
        return self._num_answered / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds to go, from tokens: known prompts as they are, unseen rows like the average so far."""
        if not self.finished or not self.seconds:
            return None
        prompt_mean = self.submitted_tokens / self.computed
        output_mean = self.output_tokens / self.finished
        seen = self.rows_done + (self.computed - self.finished) * self.rows_a_prompt
        unseen = max(self.rows - seen, 0) / self.rows_a_prompt
        in_flight = (self.submitted_tokens - self.prompt_tokens) + (self.computed - self.finished) * output_mean
        remaining = in_flight + unseen * self._share_computed() * (prompt_mean + output_mean)
        speed = (self.prompt_tokens + self.output_tokens) / self.seconds
        return remaining / speed

    @property
    def _num_answered(self) -> int:
        return self.rows_done - self.missing - self.not_sampled

    def _share_computed(self) -> float:
        """Share of the prompts met so far that needed the model (the others were duplicates or failed)."""
        met = self._num_answered / self.rows_a_prompt + self.computed - self.finished
        return self.computed / met if met else 1.0

    def as_attrs(self, *, model: str, params: SamplingParams, **details: Any) -> dict[str, Any]:
        """Return the figures as a dict of JSON types."""
        return {
            "model": model,
            "rows": self.rows,
            "missing": self.missing,
            "not_sampled": self.not_sampled,
            "computed": self.computed,
            "duplicates": self.duplicates,
            "resumed": self.resumed,
            "reused": self.reused,
            "truncated": self.truncated,
            "failed": self.failed,
            "cut_at_max_tokens": self.cut_at_max_tokens,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "output_tokens": self.output_tokens,
            "seconds": round(self.seconds, 4),
            "rows_per_s": round(self.rows_per_s, 2),
            "tokens_per_s": round(self.tokens_per_s, 2),
            "seed": params.seed,
            "sampling": _changed_fields(params),
            **details,
        }


def _changed_fields(params: SamplingParams) -> dict[str, Any]:
    """The parameters that say something, as JSON types: those that differ from the defaults, and the temperature."""
    default = SamplingParams()
    names = (field.name for field in dataclasses.fields(params))
    changed = {name: getattr(params, name) for name in names if getattr(params, name) != getattr(default, name)}
    changed = {"temperature": params.temperature, "max_tokens": params.max_tokens, **changed}
    return {name: _as_json(value) for name, value in changed.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, dict):
        return {str(key): item for key, item in value.items()}
    return value

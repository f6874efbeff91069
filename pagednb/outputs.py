"""What a caller receives: vLLM's shapes, frozen.

Built on the caller's thread by the output processor; the engine thread never makes text.
"""

from __future__ import annotations

import dataclasses
import html
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclasses.dataclass(frozen=True, slots=True)
class Logprob:
    """One candidate token at one position."""

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompletionOutput:
    """One generated sequence.

    ``logprobs`` has one dict a token (token id -> Logprob) when asked for. ``stop_reason`` is the stop string or stop
    token id that ended the text, or why it was aborted, such as what a logits processor raised; None for EOS, for
    length and while the text grows.
    """

    index: int
    text: str
    token_ids: tuple[int, ...]
    cumulative_logprob: float | None = None
    logprobs: tuple[dict[int, Logprob], ...] | None = None
    finish_reason: Literal["stop", "length", "abort"] | None = None
    stop_reason: int | str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class BeamSearchSequence:
    """One answer of a beam search, as vLLM shows it: ``tokens`` and ``text`` begin with the prompt.

    ``logprobs`` are of the answer's tokens, its end token among them, and ``cum_logprob`` is their sum; ``score`` is
    what answers are ranked by. ``text`` is None without a tokenizer.
    """

    tokens: tuple[int, ...]
    text: str | None
    cum_logprob: float
    logprobs: tuple[float, ...]
    score: float
    finish_reason: Literal["stop", "length"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BeamSearchOutput:
    """The answers to one prompt, the best first."""

    sequences: tuple[BeamSearchSequence, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedding:
    """One text as numbers, ``[hidden_size]``."""

    embedding: tuple[float, ...]

    @property
    def data(self) -> torch.Tensor:
        """The same as a tensor, float32, as vLLM's ``encode`` has it."""
        import torch

        return torch.tensor(self.embedding)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """How alike two texts are."""

    score: float


Pooled = TypeVar("Pooled", Embedding, Score)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolingOutput(Generic[Pooled]):
    """A prompt and what was made of it, in vLLM's shape."""

    request_id: str
    prompt_token_ids: tuple[int, ...]
    outputs: Pooled
    finished: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class RequestMetrics:
    """Times of one request, seconds on ``time.perf_counter``'s clock."""

    arrival_s: float
    first_token_s: float | None = None
    finished_s: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RequestOutput:
    """A prompt and its completions; ``finished`` is False only for the steps of a stream.

    ``prompt_logprobs`` has one dict a prompt token (token id -> Logprob) when asked for; the first is None, since
    nothing comes before that token. ``embedding``: float32 ``[hidden_size]``, when that was asked for.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: tuple[int, ...]
    outputs: tuple[CompletionOutput, ...]
    finished: bool = True
    prompt_logprobs: tuple[dict[int, Logprob] | None, ...] | None = None
    embedding: np.ndarray | None = None
    num_cached_tokens: int = 0
    metrics: RequestMetrics | None = None

    @property
    def text(self) -> str:
        """Text of the first completion."""
        return self.outputs[0].text

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return "\n\n---\n\n".join(output.text for output in self.outputs)

    def _repr_html_(self) -> str:
        parts = (
            f"<pre style='white-space:pre-wrap;word-break:normal'>{html.escape(output.text)}</pre>"
            for output in self.outputs
        )
        return "<hr>".join(parts)

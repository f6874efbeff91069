"""One request for one sequence, as the engine accepts it. Frozen: its progress lives in the scheduler's row table.

``n > 1`` becomes n requests: the first is the parent, the others name it and fork its blocks once its prompt is
computed.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from pagednb.sampling_params import SamplingParams
from pagednb.structured_output.matcher import TokenGrammar
from pagednb.structured_output.token_rules import TokenRules

Pooling = Literal["mean", "last", "cls"]
"""What stands for a prompt: the mean of its tokens' last hidden states, that of its last token, or of its first."""


class FinishReason(enum.StrEnum):
    """Why a sequence ended."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """A sequence to be generated.

    Attributes:
        request_id: unique in the engine's life.
        prompt_token_ids: int32 ``[num_prompt_tokens]``, at least one.
        max_tokens: new tokens at most, resolved (never None) and such that prompt + max_tokens <= max_model_len.
        seed: 64-bit key of the sequence's random numbers, resolved (never None).
        priority: lower runs first; equal priorities run in order of arrival.
        parent_id: the request whose prompt blocks this one forks (``n > 1``), or None.
        stream: whether the caller wants every token as it comes, not only the finished sequence.
        cache_salt: requests share prefix-cache blocks only when their salts are equal.
        block_digests: names of the prompt's full blocks in the prefix cache, from the first on; what is missing the
            scheduler computes itself.
        grammar: what its tokens must match, compiled from ``sampling_params``; None allows everything.
        token_rules: tokens that are ruled out besides; None for none.
        pooling: of its prompt's hidden states; None for none. What is generated then does not matter.
    """

    request_id: int
    prompt_token_ids: np.ndarray
    sampling_params: SamplingParams
    max_tokens: int
    seed: int
    priority: int = 0
    parent_id: int | None = None
    stream: bool = False
    cache_salt: bytes = b""
    block_digests: tuple[bytes, ...] = ()
    grammar: TokenGrammar | None = None
    token_rules: TokenRules | None = None
    pooling: Pooling | None = None

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt in tokens."""
        return len(self.prompt_token_ids)

    @property
    def max_total_tokens(self) -> int:
        """Longest the sequence can become: prompt plus new tokens."""
        return self.num_prompt_tokens + self.max_tokens

    @property
    def needs_masks(self) -> bool:
        """Whether some tokens are ruled out, which depends on its output."""
        return self.grammar is not None or self.token_rules is not None

    @property
    def goes_by_output(self) -> bool:
        """Whether each of its tokens must be known to the host before the next is sampled."""
        return self.needs_masks or bool(self.sampling_params.logits_processors)

    @property
    def takes_forced_tokens(self) -> bool:
        """Whether tokens that its grammar forces may be appended without being sampled.

        Not where each must be sampled to have logprobs, to be counted by penalties and the like, or where some tokens
        are ruled out.
        """
        params = self.sampling_params
        if self.token_rules is not None:
            return False
        return self.grammar is not None and params.num_logprobs is None and not params.changes_logits

    @property
    def wants_updates(self) -> bool:
        """Whether each new token must be reported: someone watches, text can end it, or logprobs are collected."""
        params = self.sampling_params
        return self.stream or bool(params.stop) or params.num_logprobs is not None


@dataclasses.dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log-probabilities at one generated position, from the raw logits (before temperature and penalties).

    ``top_token_ids`` and ``top_logprobs`` are equally long: the most likely first, or the tokens that the request named
    in its order. ``rank`` is 1 for the most likely token.
    """

    logprob: float
    rank: int
    top_token_ids: tuple[int, ...]
    top_logprobs: tuple[float, ...]


class PromptLogprobs(NamedTuple):
    """Log-probabilities of prompt tokens that follow one another, as in ``TokenLogprobs``.

    Attributes:
        token_ids, ranks: int32 ``[num_tokens]``; logprobs: float32 ``[num_tokens]``. Of the prompt's own tokens.
        top_token_ids, top_logprobs: int32 and float32 ``[num_tokens, num_top]``, the most likely first.
    """

    token_ids: np.ndarray
    logprobs: np.ndarray
    ranks: np.ndarray
    top_token_ids: np.ndarray
    top_logprobs: np.ndarray

    def entries(self) -> Iterator[tuple[int, TokenLogprobs]]:
        """Yield each token with its log-probabilities."""
        columns = (array.tolist() for array in self)
        for token_id, logprob, rank, top_ids, top_logprobs in zip(*columns, strict=True):
            yield token_id, TokenLogprobs(logprob, rank, tuple(top_ids), tuple(top_logprobs))


@dataclasses.dataclass(frozen=True, slots=True)
class StopMatch:
    """A stop string that ended a sequence after ``num_tokens`` tokens; ``text`` is what remains of their text."""

    stop: str
    text: str
    num_tokens: int


@dataclasses.dataclass(frozen=True, slots=True)
class RequestUpdate:
    """What one step brought one request: tokens for those that want updates, the whole output for the finished.

    ``new_token_ids`` holds the tokens since the last update. When ``finish_reason`` is set, ``output_token_ids`` holds
    the complete output (a stop token included) and no further update follows. ``stop_token_id`` is the stop token that
    ended it, None when it was EOS or something else; ``stop_match`` is the stop string, found by the engine loop.
    ``prompt_logprobs``, if the request asked for them, are of its prompt from the second token on. ``error`` says what
    ended it when that was a mistake: a constraint that leaves no token, or an error in the caller's own code.
    ``embedding``: float32 ``[hidden_size]``, if pooled.
    """

    request_id: int
    new_token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprobs, ...] = ()
    finish_reason: FinishReason | None = None
    stop_token_id: int | None = None
    output_token_ids: np.ndarray | None = None
    num_cached_tokens: int = 0
    stop_match: StopMatch | None = None
    prompt_logprobs: tuple[PromptLogprobs, ...] = ()
    error: str | None = None
    embedding: np.ndarray | None = None

"""The beams of one prompt: which answers are kept, which have ended, and when nothing better can come.

The rules are those of transformers' beam search with its defaults. Pure Python; knows neither model nor text.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from pagednb.beam_search_params import BeamSearchParams


class Beam(NamedTuple):
    """An answer so far, the log-probability of each of its tokens, and their sum."""

    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    cumulative_logprob: float = 0.0

    def extended(self, token_id: int, logprob: float) -> Beam:
        """Return the answer with one more token."""
        return Beam((*self.token_ids, token_id), (*self.logprobs, logprob), self.cumulative_logprob + logprob)


class Beams:
    """The search of one prompt. ``running``: answers to be continued, the best first; empty when it is over."""

    def __init__(self, params: BeamSearchParams, *, max_tokens: int, eos_token_ids: Collection[int]) -> None:
        """``max_tokens``: new tokens that fit, no more than ``params`` ask for."""
        self.running = [Beam()]
        self._params = params
        self._max_tokens = max_tokens
        self._eos_token_ids = () if params.ignore_eos else eos_token_ids
        self._ended: list[Beam] = []

    @property
    def num_candidates(self) -> int:
        """How many of the likeliest tokens each beam must be told: the best of them may all be ends."""
        return self._params.beam_width + len(self._eos_token_ids)

    def advance(self, continuations: Sequence[Mapping[int, float]]) -> None:
        """Extend the running answers: ``continuations[i]`` maps tokens after the i-th to their log-probabilities."""
        width = self._params.beam_width
        candidates = [
            beam.extended(token_id, logprob)
            for beam, tokens in zip(self.running, continuations, strict=True)
            for token_id, logprob in tokens.items()
        ]
        candidates.sort(key=lambda beam: -beam.cumulative_logprob)
        is_last = len(candidates[0].token_ids) == self._max_tokens
        # an end counts only among the best: those behind them are there to be continued
        ended = [beam for beam in candidates[:width] if is_last or self.has_ended(beam)]
        self._ended = heapq.nlargest(width, self._ended + ended, key=self.score)
        self.running = [] if is_last else [beam for beam in candidates if not self.has_ended(beam)][:width]
        if self._is_settled():
            self.running = []

    def ranked(self) -> list[Beam]:
        """Return the ended answers, the best first."""
        return sorted(self._ended, key=lambda beam: -self.score(beam))

    def has_ended(self, beam: Beam) -> bool:
        """Whether the model ended the answer itself."""
        return beam.token_ids[-1] in self._eos_token_ids

    def score(self, beam: Beam) -> float:
        """Return what answers are ranked by."""
        return float(beam.cumulative_logprob / len(beam.token_ids) ** self._params.length_penalty)

    def _is_settled(self) -> bool:
        """Whether enough answers have ended and the best of the others, as it stands, beats none of them."""
        if not self.running or len(self._ended) < self._params.beam_width:
            return False
        return self.score(self.running[0]) <= min(self.score(beam) for beam in self._ended)

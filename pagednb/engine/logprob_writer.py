"""Log-probabilities in vLLM's shape: a dict a position, from token ids to ``Logprob``."""

from __future__ import annotations

from collections.abc import Iterator

from pagednb.engine.collected import CollectedGroup, CollectedSequence
from pagednb.engine.detokenizer import TextDecoder
from pagednb.outputs import Logprob
from pagednb.request import TokenLogprobs


class LogprobWriter:
    """Writes those of one call. ``decoder`` None: tokens have no text."""

    def __init__(self, decoder: TextDecoder | None) -> None:
        self._decoder = decoder
        self._token_texts: dict[int, str] = {}  # rows that ask for the same tokens are many

    def of_prompt(self, group: CollectedGroup) -> tuple[dict[int, Logprob] | None, ...] | None:
        """One dict a prompt token, made once; None before they are complete, or when nobody asked."""
        if group.prompt_logprobs is not None:
            return group.prompt_logprobs
        first = group.sequences[0]
        scores = () if first.last is None else first.last.prompt_logprobs
        num_scored = 1 + sum(len(part.token_ids) for part in scores)
        if first.request.sampling_params.prompt_logprobs is None or num_scored < first.request.num_prompt_tokens:
            return None
        group.prompt_logprobs = (None, *(self._ranked(*entry) for part in scores for entry in part.entries()))
        return group.prompt_logprobs

    def of_tokens(self, sequence: CollectedSequence, first: int) -> Iterator[dict[int, Logprob]]:
        """One dict a position from ``first`` on: the sampled token, then the likeliest, or those that were named."""
        is_ranked = sequence.request.sampling_params.logprob_token_ids is None
        for token_id, entry in zip(sequence.token_ids[first:], sequence.logprobs[first:], strict=True):
            yield self._ranked(token_id, entry, is_ranked=is_ranked)

    def _ranked(self, token_id: int, entry: TokenLogprobs, *, is_ranked: bool = True) -> dict[int, Logprob]:
        """Return a token and the others of its position; only the likeliest are ranked, not those that were named."""
        ranked: dict[int, tuple[float, int | None]] = {token_id: (entry.logprob, entry.rank)}
        for rank, (top_id, logprob) in enumerate(zip(entry.top_token_ids, entry.top_logprobs, strict=True), 1):
            ranked.setdefault(top_id, (logprob, rank if is_ranked else None))
        return {i: Logprob(logprob, rank, self._token_text(i)) for i, (logprob, rank) in ranked.items()}

    def _token_text(self, token_id: int) -> str | None:
        if self._decoder is None:
            return None
        if token_id not in self._token_texts:
            self._token_texts[token_id] = self._decoder.decode([token_id], skip_special_tokens=False)
        return self._token_texts[token_id]

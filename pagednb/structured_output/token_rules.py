"""Which tokens a request may sample, whatever its grammar: those it allows, less the last tokens of bad words.

As bits, like the masks of grammars, which they narrow. Frozen and shared by all requests of the same parameters; knows
no text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

_BITS = 32


class TokenRules:
    """What may be sampled after an output."""

    def __init__(self, vocab_size: int, *, allowed: Sequence[int] | None, banned: Iterable[Sequence[int]] = ()) -> None:
        """Args:
        vocab_size: tokens that the model knows.
        allowed: token ids below ``vocab_size``; None for all.
        banned: sequences of tokens, none empty: after all but the last, the last is ruled out. Those that name a
            token outside the vocabulary can never be sampled and rule out nothing.
        """
        self._vocab_size = vocab_size
        is_allowed = np.full(vocab_size, allowed is None)
        if allowed is not None:
            is_allowed[list(allowed)] = True
        sequences = {tuple(sequence) for sequence in banned if max(sequence) < vocab_size}
        is_allowed[[sequence[0] for sequence in sequences if len(sequence) == 1]] = False
        self._words = np.zeros(-(-vocab_size // _BITS), dtype=np.uint32)
        token_ids = np.flatnonzero(is_allowed)
        np.bitwise_or.at(self._words, token_ids // _BITS, np.uint32(1) << (token_ids % _BITS).astype(np.uint32))
        self._longer = tuple((np.array(s[:-1], dtype=np.int32), s[-1]) for s in sorted(sequences) if len(s) > 1)

    @property
    def is_constant(self) -> bool:
        """Whether the same tokens are ruled out after every output."""
        return not self._longer

    def leave_any(self, besides: Iterable[int] = ()) -> bool:
        """Whether an output can begin: with a token that is allowed, and none of ``besides``."""
        words = self._words.copy()
        for token_id in besides:
            if token_id < self._vocab_size:
                words[token_id // _BITS] &= ~np.uint32(1 << token_id % _BITS)
        return bool(words.any())

    def narrow(self, words: np.ndarray, output_token_ids: np.ndarray) -> bool:
        """Clear the bits of tokens that may not follow ``output_token_ids``; return whether any token is left.

        ``words``: int32 ``[ceil(vocab_size / 32)]``, bit ``t % 32`` of word ``t // 32`` is token t.
        """
        bits = words.view(np.uint32)
        bits &= self._words
        for prefix, last in self._longer:
            if len(output_token_ids) >= len(prefix) and np.array_equal(output_token_ids[-len(prefix) :], prefix):
                bits[last // _BITS] &= ~np.uint32(1 << last % _BITS)
        return bool(bits.any())

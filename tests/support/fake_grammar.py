"""A grammar without a language: which tokens may follow depends on a checksum of all tokens before.

A matcher that saw a token twice, too late or from somebody else allows other tokens, which changes the answer.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from pagednb.structured_output.matcher import num_words


class FakeGrammar:
    """A third of the tokens may follow, or one alone, which may be ``eos``; it fails after ``fails_after``."""

    def __init__(self, vocab_size: int, *, eos: int, key: int, fails_after: int | None = None) -> None:
        self.vocab_size = vocab_size
        self.eos = eos
        self.key = key
        self.fails_after = fails_after

    @property
    def first_token_ids(self) -> list[int]:
        return self.forced([])

    def matcher(self) -> FakeMatcher:
        return FakeMatcher(self)

    def allowed(self, tokens: list[int]) -> np.ndarray:
        """Return bool ``[vocab_size]``."""
        check = zlib.crc32(np.array(tokens, dtype=np.int32).tobytes(), self.key)
        if check % 3 == 0:
            return np.arange(self.vocab_size) == check // 3 % self.vocab_size
        is_allowed = np.random.default_rng(check).random(self.vocab_size) < 0.3
        is_allowed[self.eos + 1] = True
        is_allowed[self.eos] = len(tokens) % 4 == 3
        return is_allowed

    def forced(self, tokens: list[int]) -> list[int]:
        """Return what must follow ``tokens``, however the text goes on; no more than the grammar lasts."""
        forced: list[int] = []
        while len(forced) < 20 and (self.fails_after is None or len(tokens) + len(forced) < self.fails_after):
            (allowed,) = self.allowed(tokens + forced).nonzero()
            if len(allowed) > 1:
                break
            forced.append(int(allowed[0]))
        return forced


class FakeMatcher:
    def __init__(self, grammar: FakeGrammar) -> None:
        self._grammar = grammar
        self._tokens: list[int] = []

    @property
    def num_tokens(self) -> int:
        return len(self._tokens)

    def take(self, token_ids: np.ndarray) -> None:
        for token in token_ids.tolist():
            assert self._grammar.allowed(self._tokens)[token], f"{token} after {self._tokens} was not allowed"
            self._tokens.append(token)

    def forced(self) -> list[int]:
        return self._grammar.forced(self._tokens)

    @property
    def num_words(self) -> int:
        return num_words(self._grammar.vocab_size)

    def fill(self, words: np.ndarray) -> bool:
        """Return whether the grammar goes on."""
        if self._grammar.fails_after is not None and len(self._tokens) >= self._grammar.fails_after:
            return False
        bits = np.zeros(32 * len(words), dtype=np.uint8)
        bits[: self._grammar.vocab_size] = self._grammar.allowed(self._tokens)
        words[:] = np.packbits(bits, bitorder="little").view(np.int32)
        return True


def fill_fakes(matchers: Sequence[FakeMatcher], words: np.ndarray) -> list[int]:
    """As ``MaskFiller.fill``."""
    return [index for index, (matcher, row) in enumerate(zip(matchers, words, strict=True)) if not matcher.fill(row)]

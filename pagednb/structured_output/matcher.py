"""Where one answer stands in its grammar: which tokens may come next.

The automaton itself is llguidance's; nothing here imports it. A matcher is used by one thread at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from llguidance import LLMatcher


class ConstraintFailure(Exception):  # noqa: N818  (never leaves the engine: it ends one request)
    """An answer left its grammar, or the grammar became too complex to go on."""


class TokenGrammar:
    """A constraint compiled for one vocabulary; frozen, shared by all requests that have it."""

    def __init__(self, start: LLMatcher, *, vocab_size: int, num_tokenizer_tokens: int) -> None:
        """``start`` is never moved. Tokens from ``vocab_size`` on are the tokenizer's only and never allowed."""
        self._start = start
        self._vocab_size = vocab_size
        self._num_tokenizer_tokens = num_tokenizer_tokens

    def matcher(self) -> TokenMatcher:
        """Return a matcher at the beginning of an answer."""
        return TokenMatcher(self._start.deep_copy(), self._vocab_size, self._num_tokenizer_tokens)


class TokenMatcher:
    """The state of one sequence. ``num_tokens`` of its output are taken in."""

    def __init__(self, state: LLMatcher, vocab_size: int, num_tokenizer_tokens: int) -> None:
        self._state = state
        self._vocab_size = vocab_size
        self._words = np.empty(num_words(num_tokenizer_tokens), dtype=np.int32)
        self.num_tokens = 0

    @property
    def is_complete(self) -> bool:
        """Whether the answer may end here."""
        return self._state.is_accepting()

    def take(self, token_ids: np.ndarray) -> None:
        """Take in the next tokens of the output, int ``[num_new]``. Raises ConstraintFailure if they do not match."""
        if len(token_ids) and not self._state.consume_tokens(token_ids.tolist()):
            raise ConstraintFailure(self._state.get_error())
        self.num_tokens += len(token_ids)

    def fill(self, words: np.ndarray) -> None:
        """Write which tokens may come next: int32 ``[num_words(vocab_size)]``, bit ``t % 32`` of word ``t // 32``.

        The end tokens are among them only where the constraint is fulfilled. Bits from ``vocab_size`` on mean nothing.

        Raises:
            ConstraintFailure: no token may come next, or there is no way to tell.
        """
        self._state.unsafe_compute_mask_ptr(self._words.ctypes.data, self._words.nbytes)
        if self._state.is_error():
            raise ConstraintFailure(self._state.get_error())
        words[:] = self._words[: len(words)]
        surplus = 32 * len(words) - self._vocab_size
        if not words[:-1].any() and not np.uint32(words[-1].view(np.uint32) << np.uint32(surplus)):
            raise ConstraintFailure("no token of the model fits here")

    def clone(self) -> Self:
        """Return an independent matcher in the same state."""
        clone = type(self)(self._state.deep_copy(), self._vocab_size, 32 * len(self._words))
        clone.num_tokens = self.num_tokens
        return clone


def num_words(vocab_size: int) -> int:
    """Return how many 32-bit words a mask over the vocabulary takes."""
    return -(-vocab_size // 32)

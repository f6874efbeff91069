"""Where one answer stands in its grammar: which tokens may come next.

The automaton itself is llguidance's; nothing here imports it. A matcher is used by one thread at a time.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from llguidance import LLMatcher


class ConstraintFailure(Exception):  # noqa: N818  (never leaves the engine: it ends one request)
    """An answer left its grammar, or the grammar became too complex to go on."""


class TokenGrammar:
    """A constraint compiled for one vocabulary; frozen, shared by all requests that have it.

    ``first_token_ids``: what every answer begins with, as ``TokenMatcher.forced`` says it; often nothing.
    """

    def __init__(self, start: LLMatcher, *, vocab_size: int, num_tokenizer_tokens: int) -> None:
        """``start`` is never moved. Tokens from ``vocab_size`` on are the tokenizer's only and never allowed."""
        self._start = start
        self._vocab_size = vocab_size
        self._num_tokenizer_tokens = num_tokenizer_tokens
        self.first_token_ids = tuple(_known(start.deep_copy().compute_ff_tokens(), vocab_size))

    def matcher(self) -> TokenMatcher:
        """Return a matcher at the beginning of an answer."""
        return TokenMatcher(self._start.deep_copy(), self._vocab_size, self._num_tokenizer_tokens)


class TokenMatcher:
    """The state of one sequence. ``num_tokens`` of its output are taken in."""

    __slots__ = ("_num_tokenizer_tokens", "_vocab_size", "num_tokens", "state")

    def __init__(self, state: LLMatcher, vocab_size: int, num_tokenizer_tokens: int) -> None:
        """``state`` is the automaton; only masks are computed with it elsewhere."""
        self.state = state
        self.num_tokens = 0
        self._vocab_size = vocab_size
        self._num_tokenizer_tokens = num_tokenizer_tokens

    @property
    def is_complete(self) -> bool:
        """Whether the answer may end here."""
        return self.state.is_accepting()

    @property
    def num_words(self) -> int:
        """Words of a mask over all tokens of the tokenizer, which may know more than the model."""
        return num_words(self._num_tokenizer_tokens)

    def take(self, token_ids: np.ndarray) -> None:
        """Take in the next tokens of the output, int ``[num_new]``. Raises ConstraintFailure if they do not match."""
        if len(token_ids) and not self.state.consume_tokens(token_ids.tolist()):
            raise ConstraintFailure(self.state.get_error())
        self.num_tokens += len(token_ids)

    def forced(self) -> list[int]:
        """Return the tokens that come next whatever the model says: each is the only one in its mask. Often none."""
        if not self.state.compute_ff_bytes():  # which costs a fraction of the tokens
            return []
        return _known(self.state.compute_ff_tokens(), self._vocab_size)

    def fill(self, words: np.ndarray) -> None:
        """Write which tokens may come next: int32 ``[num_words]``, bit ``t % 32`` of word ``t // 32``.

        The end tokens are among them only where the constraint is fulfilled. Bits of tokens that the model does not
        know mean nothing. ``MaskFiller`` does it for many matchers.

        Raises:
            ConstraintFailure: no token may come next, or there is no way to tell.
        """
        self.state.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        if self.has_failed(words):
            raise ConstraintFailure(self.state.get_error() or "no token of the model fits here")

    def has_failed(self, words: np.ndarray) -> bool:
        """Whether the mask just computed into ``words`` is none: there was an error, or it allows no token.

        llguidance never leaves a mask empty; but what it allows, the model may not know.
        """
        if self.state.is_error():
            return True
        if self._num_tokenizer_tokens <= self._vocab_size:
            return False
        last = num_words(self._vocab_size) - 1
        surplus = np.uint32(32 * (last + 1) - self._vocab_size)
        return not words[:last].any() and not np.uint32(words[last].view(np.uint32) << surplus)

    def clone(self) -> Self:
        """Return an independent matcher in the same state."""
        clone = type(self)(self.state.deep_copy(), self._vocab_size, self._num_tokenizer_tokens)
        clone.num_tokens = self.num_tokens
        return clone


def _known(token_ids: list[int], vocab_size: int) -> list[int]:
    """Return the leading tokens that the model knows."""
    return list(itertools.takewhile(lambda token_id: token_id < vocab_size, token_ids))


def num_words(vocab_size: int) -> int:
    """Return how many 32-bit words a mask over the vocabulary takes."""
    return -(-vocab_size // 32)

"""Where one answer stands in its grammar: which tokens may come next.

The automaton itself is llguidance's; nothing here imports it. A matcher is used by one thread at a time.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from pagednb.structured_output.automata import Automata


class ConstraintFailure(Exception):  # noqa: N818  (never leaves the engine: it ends one request)
    """An answer left its grammar, or the grammar became too complex to go on."""


class Vocabulary(NamedTuple):
    """The tokens of a model: ``size`` that it knows, ``num_tokenizer_tokens`` of its tokenizer, which end an answer.

    Tokens from ``size`` on are the tokenizer's only and never allowed.
    """

    size: int
    num_tokenizer_tokens: int
    eos_token_ids: tuple[int, ...]


class TokenGrammar:
    """A constraint compiled for one vocabulary; frozen, shared by all requests that have it.

    ``first_token_ids``: what every answer begins with, as ``TokenMatcher.forced`` says it; often nothing.
    """

    def __init__(self, automata: Automata, vocabulary: Vocabulary, *, starts_after: int | None = None) -> None:
        self._automata = automata
        self._vocabulary = vocabulary
        self._starts_after = starts_after
        first = automata.root.deep_copy().compute_ff_tokens() if starts_after is None else []
        self.first_token_ids = tuple(_known(first, vocabulary.size))

    def starting_after(self, token_id: int) -> TokenGrammar:
        """Return the same constraint for what follows the first ``token_id`` of an answer, which does not end before.

        For models that think: their thoughts are free.
        """
        return TokenGrammar(self._automata, self._vocabulary, starts_after=token_id)

    def matcher(self) -> TokenMatcher:
        """Return a matcher at the beginning of an answer."""
        state, family = self._automata.copy()
        return TokenMatcher(state, self._vocabulary, family=family, starts_after=self._starts_after)


class TokenMatcher:
    """The state of one sequence. ``num_tokens`` of its output are taken in."""

    __slots__ = ("_starts_after", "_vocabulary", "family", "num_tokens", "state")

    def __init__(
        self, state: LLMatcher, vocabulary: Vocabulary, *, family: int = 0, starts_after: int | None = None
    ) -> None:
        """``state`` is the automaton; only masks are computed with it elsewhere. ``family``: whose lexer it shares."""
        self.state = state
        self.family = family
        self.num_tokens = 0
        self._vocabulary = vocabulary
        self._starts_after = starts_after  # None once it has come

    @property
    def has_started(self) -> bool:
        """Whether the constraint holds already."""
        return self._starts_after is None

    @property
    def is_complete(self) -> bool:
        """Whether the answer may end here."""
        return self.has_started and self.state.is_accepting()

    @property
    def num_words(self) -> int:
        """Words of a mask over all tokens of the tokenizer, which may know more than the model."""
        return num_words(self._vocabulary.num_tokenizer_tokens)

    def take(self, token_ids: np.ndarray) -> None:
        """Take in the next tokens of the output, int ``[num_new]``. Raises ConstraintFailure if they do not match."""
        constrained = token_ids.tolist()
        if self._starts_after is not None:
            is_start = self._starts_after in constrained
            constrained = constrained[constrained.index(self._starts_after) + 1 :] if is_start else []
            self._starts_after = None if is_start else self._starts_after
        if constrained and not self.state.consume_tokens(constrained):
            raise ConstraintFailure(self.state.get_error())
        self.num_tokens += len(token_ids)

    def forced(self) -> list[int]:
        """Return the tokens that come next whatever the model says: each is the only one in its mask. Often none."""
        if not self.has_started or not self.state.compute_ff_bytes():  # bytes cost a fraction of what tokens cost
            return []
        return _known(self.state.compute_ff_tokens(), self._vocabulary.size)

    def fill(self, words: np.ndarray) -> None:
        """Write which tokens may come next: int32 ``[num_words]``, bit ``t % 32`` of word ``t // 32``.

        The end tokens are among them only where the constraint is fulfilled. Bits of tokens that the model does not
        know mean nothing. ``MaskFiller`` does it for many matchers.

        Raises:
            ConstraintFailure: no token may come next, or there is no way to tell.
        """
        if not self.has_started:
            self.fill_free(words)
            return
        self.state.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        if self.has_failed(words):
            raise ConstraintFailure(self.state.get_error() or "no token of the model fits here")

    def fill_free(self, words: np.ndarray) -> None:
        """Write the mask of a constraint that has not started: everything but the end."""
        words[:] = -1
        for token_id in self._vocabulary.eos_token_ids:
            words[token_id // 32] &= ~np.uint32(1 << token_id % 32).view(np.int32)

    def has_failed(self, words: np.ndarray) -> bool:
        """Whether the mask just computed into ``words`` is none: there was an error, or it allows no token.

        llguidance never leaves a mask empty; but what it allows, the model may not know.
        """
        if self.state.is_error():
            return True
        vocab_size, num_tokenizer_tokens, _ = self._vocabulary
        if num_tokenizer_tokens <= vocab_size:
            return False
        last = num_words(vocab_size) - 1
        surplus = np.uint32(32 * (last + 1) - vocab_size)
        return not words[:last].any() and not np.uint32(words[last].view(np.uint32) << surplus)

    def clone(self) -> Self:
        """Return an independent matcher in the same state."""
        state = self.state.deep_copy()
        clone = type(self)(state, self._vocabulary, family=self.family, starts_after=self._starts_after)
        clone.num_tokens = self.num_tokens
        return clone


def _known(token_ids: list[int], vocab_size: int) -> list[int]:
    """Return the leading tokens that the model knows."""
    return list(itertools.takewhile(lambda token_id: token_id < vocab_size, token_ids))


def num_words(vocab_size: int) -> int:
    """Return how many 32-bit words a mask over the vocabulary takes."""
    return -(-vocab_size // 32)

"""Compiles constraints for one tokenizer. Runs on callers' threads, so that mistakes raise where they were made."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from pagednb.errors import NotSupportedYetError, OptionError
from pagednb.structured_output.automata import Automata
from pagednb.structured_output.constraint import Constraint
from pagednb.structured_output.grammar import grammar_of
from pagednb.structured_output.matcher import ConstraintFailure, TokenGrammar, Vocabulary, num_words

if TYPE_CHECKING:
    from llguidance import LLTokenizer
    from tokenizers import Tokenizer

MAX_KEPT = 256
"""Compiled grammars that are kept, the last used ones."""


class GrammarCompiler:
    """Turns constraints into automata over token ids. Safe to use from several threads.

    Args:
        tokenizer: the Rust tokenizer.
        vocab_size: tokens that the model knows; the tokenizer may know fewer or more.
        eos_token_ids: what ends an answer; allowed where its constraint is fulfilled.
    """

    def __init__(self, tokenizer: Tokenizer, *, vocab_size: int, eos_token_ids: tuple[int, ...]) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._num_tokens = max(vocab_size, tokenizer.get_vocab_size(with_added_tokens=True))
        self._eos_token_ids = eos_token_ids
        self._lock = threading.Lock()
        self._tokens: LLTokenizer | None = None
        self._kept: OrderedDict[Constraint, TokenGrammar] = OrderedDict()

    def compile(self, constraint: Constraint) -> TokenGrammar:
        """Return the constraint's automaton, the same object for equal constraints while it is kept.

        Raises:
            OptionError, SchemaError: the constraint cannot be enforced.
            NotSupportedYetError: the model has no end token, or its tokenizer is of a kind that llguidance cannot read.
        """
        with self._lock:
            if constraint not in self._kept:
                self._kept[constraint] = self._compiled(constraint)
                if len(self._kept) > MAX_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(constraint)
            return self._kept[constraint]

    def _compiled(self, constraint: Constraint) -> TokenGrammar:
        grammar = grammar_of(constraint)
        from llguidance import LLMatcher

        automata = Automata(lambda: LLMatcher(self._ll_tokenizer(), grammar, log_level=0))
        if automata.root.is_error():
            message = automata.root.get_error().splitlines()[0].rstrip(".")
            raise OptionError(f"{constraint.kind} cannot be used: {message}.")
        compiled = TokenGrammar(automata, Vocabulary(self._vocab_size, self._num_tokens, self._eos_token_ids))
        try:
            compiled.matcher().fill(np.empty(num_words(self._num_tokens), dtype=np.int32))
        except ConstraintFailure as error:
            raise OptionError(f"{constraint.kind} cannot be used with this model: {error}.") from error
        return compiled

    def _ll_tokenizer(self) -> LLTokenizer:
        """Return llguidance's view of the vocabulary; made once, which takes a second for 150,000 tokens."""
        if not self._eos_token_ids:
            raise NotSupportedYetError(
                "This model names no end token, so a constrained answer could not end.",
                hint="Name one as eos_token_id in its generation_config.json.",
            )
        if self._tokens is None:
            from llguidance import LLTokenizer

            try:
                self._tokens = LLTokenizer(
                    self._tokenizer.to_str(), n_vocab=self._num_tokens, eos_token=list(self._eos_token_ids)
                )
            except ValueError as error:
                raise NotSupportedYetError(f"Constraints cannot read this model's tokenizer: {error}.") from error
        return self._tokens

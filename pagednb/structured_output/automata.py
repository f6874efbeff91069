"""Equal automata of one grammar, several of them, so that masks of many answers can be computed at the same time.

Copies of an llguidance automaton share its lexer, and a lock with it: of copies of one automaton only one computes at a
time. Automata that were compiled apart do not wait for each other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLMatcher

MAX_FAMILIES = min(16, os.cpu_count() or 1)


class Automata:
    """Gives out copies at the beginning of an answer, of each family in turn. Safe to use from several threads."""

    def __init__(self, compile_one: Callable[[], LLMatcher], *, max_families: int = MAX_FAMILIES) -> None:
        """``compile_one`` makes an automaton; it is called once here, and again as more copies are asked for."""
        self._compile_one = compile_one
        self._max_families = max_families
        self._lock = threading.Lock()
        self._roots = [compile_one()]  # never moved: what is given out are copies
        self._num_given = 0

    @property
    def root(self) -> LLMatcher:
        """The first automaton, to be looked at only."""
        return self._roots[0]

    def copy(self) -> tuple[LLMatcher, int]:
        """Return an automaton of its own and the family that it shares a lexer with."""
        with self._lock:
            family = self._num_given % self._max_families
            self._num_given += 1
            if family == len(self._roots):
                self._roots.append(self._compile_one())
            return self._roots[family].deep_copy(), family

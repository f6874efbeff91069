"""Masks of many answers at once: llguidance computes them on threads of its own, without the interpreter lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pagednb.structured_output.matcher import TokenMatcher

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher


class MaskFiller:
    """Starts its threads with the first masks; they end with it. Used by one thread at a time."""

    def __init__(self) -> None:
        self._executor: LLExecutor | None = None

    def fill(self, matchers: Sequence[TokenMatcher], words: np.ndarray) -> list[int]:
        """Write one mask a row, as ``TokenMatcher.fill`` does.

        Args:
            matchers: at least one, all of one vocabulary; none is there twice.
            words: int32 ``[len(matchers), num_words]``, contiguous.

        Returns:
            The indices of matchers whose constraints failed; what their rows hold means nothing.
        """
        started = [index for index, matcher in enumerate(matchers) if matcher.has_started]
        if started:
            # those that share a lock side by side: a thread takes a stretch of them, and no two wait for each other
            started.sort(key=lambda index: matchers[index].family)
            self._compute([(matchers[index].state, index) for index in started], words)
        if len(started) < len(matchers):
            for matcher, row in zip(matchers, words, strict=True):
                if not matcher.has_started:
                    matcher.fill_free(row)
        return [index for index in started if matchers[index].has_failed(words[index])]

    def _compute(self, states: list[tuple[LLMatcher, int]], words: np.ndarray) -> None:
        if self._executor is None:
            from llguidance import LLExecutor

            self._executor = LLExecutor()
        self._executor.unsafe_compute_mask_ptr(states, words.ctypes.data, words.strides[0], len(words))

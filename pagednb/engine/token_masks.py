"""Masks for the constrained rows of a plan, made between scheduling and execution, on the engine thread."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Sequence

import numpy as np

from pagednb.request import Request
from pagednb.scheduler.constrained_rows import ConstrainedRow, ConstrainedSample
from pagednb.scheduler.output import SchedulerOutput, TokenMasks
from pagednb.scheduler.run_phase import ForcedTokens
from pagednb.structured_output.mask_filler import MaskFiller
from pagednb.structured_output.matcher import ConstraintFailure, TokenMatcher, num_words

NOTHING_LEFT = (
    "The answer cannot go on: its constraint, allowed_token_ids and bad_words together leave no token. "
    "Loosen one of them."
)
"""What requests are told whose constraints failed."""

Allocate = Callable[[int, int], np.ndarray]
"""Returns int32 host memory of so many rows and columns."""


Fill = Callable[[Sequence[TokenMatcher], np.ndarray], list[int]]
"""Writes the masks of matchers, a row each; see ``MaskFiller.fill``."""


class TokenMaskBuilder:
    """Keeps where each constrained request stands, for as long as anybody knows the request.

    Only known tokens are taken in, so a request that was preempted goes on where it was.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        launch_ahead: int = 1,
        allocate: Allocate | None = None,
        fill: Fill | None = None,
    ) -> None:
        """``launch_ahead``: plans that may be on their way when the next is made; their masks stay untouched.

        ``allocate``: gives the host memory that masks are sent from; NumPy's by default.
        """
        self._num_words = num_words(vocab_size)
        self._fill = fill or MaskFiller().fill
        self._allocate = allocate or _plain_memory
        self._buffers = [np.empty((0, 0), dtype=np.int32)] * (launch_ahead + 1)
        self._matchers: weakref.WeakKeyDictionary[Request, TokenMatcher] = weakref.WeakKeyDictionary()

    def with_masks(
        self, plan: SchedulerOutput, samples: Sequence[ConstrainedSample]
    ) -> tuple[SchedulerOutput, list[int]]:
        """Return ``plan`` with the masks of ``samples``, and the ids of requests whose constraints failed.

        A failed request samples freely in this plan: it must be aborted before the plan's tokens are taken in.
        """
        words, failed = self._grammar_masks(samples)
        words = words[:, : self._num_words]
        failed += _narrow(samples, words)
        words[failed] = -1
        positions = np.array([sample.position for sample in samples], dtype=np.int32)
        masks = TokenMasks(sample_positions=positions, words=words)
        failed_ids = sorted({samples[index].request.request_id for index in failed})
        return dataclasses.replace(plan, token_masks=masks), failed_ids

    def _grammar_masks(self, samples: Sequence[ConstrainedSample]) -> tuple[np.ndarray, list[int]]:
        """Return a mask for each of ``samples``, all tokens where there is no grammar, and which of them failed."""
        bound = [i for i, sample in enumerate(samples) if sample.request.grammar is not None]
        matchers = [self._matcher(samples[i].request) for i in bound]
        failed = [i for i, matcher in zip(bound, matchers, strict=True) if not _takes(matcher, samples[i])]
        words = self._buffer(len(samples), matchers[0].num_words if matchers else self._num_words)
        if len(bound) == len(samples):
            return words, failed + self._fill(matchers, words)
        if matchers:
            filled = np.empty((len(bound), words.shape[1]), dtype=np.int32)
            failed += [bound[index] for index in self._fill(matchers, filled)]
            words[bound] = filled
        free = [i for i, sample in enumerate(samples) if sample.request.grammar is None]
        words[free] = -1
        return words, failed

    def forced_tokens(self, rows: Sequence[ConstrainedRow]) -> list[ForcedTokens]:
        """Return what the grammars of ``rows`` force after their output, of those where they force anything."""
        forced = []
        for row in rows:
            matcher = self._matcher(row.request)
            # one that failed here fails again when its mask is asked for
            if _takes(matcher, row) and (token_ids := matcher.forced()):
                forced.append(ForcedTokens(row.request.request_id, token_ids))
        return forced

    def _matcher(self, request: Request) -> TokenMatcher:
        matcher = self._matchers.get(request)
        if matcher is None:
            assert request.grammar is not None
            matcher = self._matchers[request] = request.grammar.matcher()
        return matcher

    def _buffer(self, num_rows: int, num_columns: int) -> np.ndarray:
        """Return the memory that has rested longest, grown where it is too small."""
        buffer = self._buffers.pop(0)
        if len(buffer) < num_rows or buffer.shape[1] != num_columns:
            buffer = self._allocate(1 << (num_rows - 1).bit_length(), num_columns)
        self._buffers.append(buffer)
        return buffer[:num_rows]


def _narrow(samples: Sequence[ConstrainedSample], words: np.ndarray) -> list[int]:
    """Rule out what the token rules of ``samples`` do; return the indices of those that leave nothing."""
    return [
        index
        for index, sample in enumerate(samples)
        if sample.request.token_rules is not None
        and not sample.request.token_rules.narrow(words[index], sample.output_token_ids)
    ]


def _takes(matcher: TokenMatcher, row: ConstrainedSample | ConstrainedRow) -> bool:
    """Take in what is new of a row's output; return whether it matches."""
    output_token_ids = row.output_token_ids
    if len(output_token_ids) == matcher.num_tokens:
        return True
    try:
        matcher.take(output_token_ids[matcher.num_tokens :])
    except ConstraintFailure:
        return False
    return True


def _plain_memory(num_rows: int, num_columns: int) -> np.ndarray:
    return np.empty((num_rows, num_columns), dtype=np.int32)

"""Masks for the constrained rows of a plan, made between scheduling and execution, on the engine thread."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Sequence

import numpy as np

from pagednb.request import Request
from pagednb.scheduler.constrained_rows import ConstrainedSample
from pagednb.scheduler.output import SchedulerOutput, TokenMasks
from pagednb.structured_output.matcher import ConstraintFailure, TokenMatcher, num_words


class TokenMaskBuilder:
    """Keeps where each constrained request stands, for as long as anybody knows the request.

    Only known tokens are taken in, so a request that was preempted goes on where it was.
    """

    def __init__(self, vocab_size: int) -> None:
        self._num_words = num_words(vocab_size)
        self._matchers: weakref.WeakKeyDictionary[Request, TokenMatcher] = weakref.WeakKeyDictionary()

    def with_masks(
        self, plan: SchedulerOutput, samples: Sequence[ConstrainedSample]
    ) -> tuple[SchedulerOutput, list[int]]:
        """Return ``plan`` with the masks of ``samples``, and the ids of requests whose constraints failed.

        A failed request samples freely in this plan: it must be aborted before the plan's tokens are taken in.
        """
        words = np.empty((len(samples), self._num_words), dtype=np.int32)
        failed = []
        for sample, row in zip(samples, words, strict=True):
            try:
                self._matcher(sample).fill(row)
            except ConstraintFailure:
                row[:] = -1
                failed.append(sample.request.request_id)
        positions = np.array([sample.position for sample in samples], dtype=np.int32)
        return dataclasses.replace(plan, token_masks=TokenMasks(sample_positions=positions, words=words)), failed

    def _matcher(self, sample: ConstrainedSample) -> TokenMatcher:
        """Return the request's matcher after all of its known output."""
        matcher = self._matchers.get(sample.request)
        if matcher is None:
            assert sample.request.grammar is not None
            matcher = self._matchers[sample.request] = sample.request.grammar.matcher()
        matcher.take(sample.output_token_ids[matcher.num_tokens :])
        return matcher

"""Embeddings of prompts on their way: which chunks add to them, and the sums as they come.

A mean is the sum over all tokens; a first or last token's state is a sum of one. A request that is computed again
begins its sum anew, since its first chunk starts at token 0.
"""

from __future__ import annotations

import numpy as np

from pagednb.request import Request
from pagednb.scheduler.books import Books
from pagednb.scheduler.output import PromptPooling, SchedulerOutput
from pagednb.scheduler.sequence import Sequence


def pooling_of(request: Request, start: int, stop: int) -> PromptPooling | None:
    """Return what a chunk over tokens ``start : stop`` adds to the embedding of ``request``; None for nothing."""
    num_prompt = request.num_prompt_tokens
    first, last = {"mean": (0, num_prompt), "cls": (0, 1), "last": (num_prompt - 1, num_prompt)}[request.pooling or ""]
    first, last = max(first, start), min(last, stop)
    return PromptPooling(request.request_id, first - start, last - start) if first < last else None


def take_pooled(books: Books, plan: SchedulerOutput, pooled: np.ndarray) -> None:
    """Add what an executed plan brought; of requests that have left their row meanwhile it is dropped."""
    chunks = [chunk for chunk in plan.prefills if chunk.pooling is not None]
    for chunk, vector in zip(chunks, pooled, strict=True):
        assert chunk.pooling is not None
        rows, request_ids = np.array([chunk.row]), np.array([chunk.pooling.request_id])
        if books.rows.is_current(rows, request_ids, plan.step)[0]:
            sequence = books.rows.sequence(chunk.row)
            is_first = chunk.start == 0 or sequence.pooled is None or sequence.request.pooling == "last"
            sequence.pooled = vector.copy() if is_first else sequence.pooled + vector


def embedding_of(sequence: Sequence) -> np.ndarray:
    """Return what the sums of ``sequence`` make, float32 ``[hidden_size]``."""
    assert sequence.pooled is not None
    if sequence.request.pooling != "mean":
        return sequence.pooled
    mean: np.ndarray = sequence.pooled / np.float32(sequence.request.num_prompt_tokens)
    return mean

"""Log-probabilities of a prompt's tokens on their way: asked of the chunks that compute them, collected as they come.

A token is scored at the position before it, so what the prefix cache answers cannot score what follows it::

    0 .......... num_scored - 1 | num_scored .......... num_prompt
    scored already: their       | position num_scored - 1 must be computed
    blocks may be shared        | for the next score, and all after it

So a request shares blocks up to where its scores end: those that it had before it was preempted, or those that the
score cache keeps of blocks that another request scored. Forks (``n > 1``) leave scoring to their parent.
"""

from __future__ import annotations

import numpy as np

from pagednb.request import PromptLogprobs
from pagednb.scheduler.books import Books
from pagednb.scheduler.output import PromptScoring, RunnerOutput, SchedulerOutput
from pagednb.scheduler.sequence import Sequence


def scoring_of(sequence: Sequence, start: int, stop: int) -> PromptScoring | None:
    """Return what a chunk over tokens ``start : stop`` of a sequence that wants scores is to score, if anything."""
    first = max(start, sequence.num_scored - 1)
    last = min(stop, sequence.request.num_prompt_tokens - 1)
    num_top = sequence.request.sampling_params.prompt_logprobs
    if first >= last or num_top is None:
        return None
    token_ids = sequence.request.prompt_token_ids[first + 1 : last + 1]
    return PromptScoring(sequence.request.request_id, first - start, token_ids, num_top)


def find_scores(books: Books, sequence: Sequence) -> None:
    """Give a sequence that has no scores those that are kept of its prompt's leading blocks."""
    num_top = sequence.request.sampling_params.prompt_logprobs
    if sequence.num_scored == 1 and num_top is not None:
        for part in books.scores.find(sequence.request.block_digests, num_top):
            sequence.add_scores(part)


def take_scores(books: Books, plan: SchedulerOutput, output: RunnerOutput) -> None:
    """Note the scores of an executed plan; those of requests that have left their row meanwhile are dropped."""
    first = 0
    for chunk in plan.prefills:
        if chunk.scoring is None:
            continue
        request_id, _, token_ids, num_top = chunk.scoring
        assert output.prompt_logprobs is not None, f"request {request_id} wants prompt logprobs and there are none"
        part = slice(first, first + len(token_ids))
        first = part.stop
        rows, request_ids = np.array([chunk.row]), np.array([request_id])
        if books.rows.is_current(rows, request_ids, plan.step)[0]:
            logprobs, sequence = output.prompt_logprobs, books.rows.sequence(chunk.row)
            sequence.add_scores(
                PromptLogprobs(
                    token_ids=token_ids,
                    logprobs=logprobs.sampled_logprobs[part].copy(),
                    ranks=logprobs.ranks[part].copy(),
                    top_token_ids=logprobs.top_token_ids[part, :num_top].copy(),
                    top_logprobs=logprobs.top_logprobs[part, :num_top].copy(),
                )
            )
            if not sequence.wants_scores:
                books.scores.put(sequence.request.block_digests, sequence.scores)

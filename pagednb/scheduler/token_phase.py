"""What a step brought: sampled tokens are noted, sequences that end leave, callers get their updates.

All rows at once; Python runs per request only for those that end, are watched, or have stop tokens of their own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pagednb.request import FinishReason, RequestUpdate, TokenLogprobs
from pagednb.scheduler.books import Books
from pagednb.scheduler.output import LogprobArrays, RunnerOutput, SchedulerOutput
from pagednb.scheduler.prompt_pooling import embedding_of
from pagednb.scheduler.sequence import Sequence


class _News(NamedTuple):
    """A new token that somebody must hear of; ``sample`` is its index in ``sampled_rows``."""

    sequence: Sequence
    token_id: int
    sample: int
    finish_reason: FinishReason | None
    stop_token_id: int | None


def take_tokens(books: Books, plan: SchedulerOutput, output: RunnerOutput) -> list[RequestUpdate]:
    """Note the tokens of an executed plan, one update for each request that has news.

    Dropped are tokens of requests that lost their row meanwhile, and those after a sequence's end.
    """
    shape = (len(plan.sampled_rows), plan.num_decode_steps)
    assert output.token_ids.shape == shape, f"{output.token_ids.shape} tokens instead of {shape}"
    news: dict[int, list[_News]] = {}
    for step in range(plan.num_decode_steps):
        for each in _take_step(books, plan, output.token_ids[:, step], step):
            news.setdefault(_id_of(each), []).append(each)
    logprobs = {} if output.logprobs is None else _by_sample(output.logprobs)
    return [_update(each, output.logprobs, logprobs) for each in news.values()]


def _take_step(books: Books, plan: SchedulerOutput, token_ids: np.ndarray, step: int) -> list[_News]:
    """Note the tokens of one of the plan's decode steps; rows whose sequences end are left at once."""
    takes = books.rows.is_current(plan.sampled_rows, plan.sampled_request_ids, plan.step)
    if plan.decode_counts is not None:
        takes &= plan.decode_counts > step
    samples = np.flatnonzero(takes)
    if not len(samples):
        return []
    rows, token_ids = plan.sampled_rows[samples], token_ids[samples]
    books.rows.append(rows, token_ids)
    news = _find_news(books, rows, token_ids, samples)
    books.leave([books.rows.row_of[_id_of(each)] for each in news if each.finish_reason is not None])
    return news


def final_update(sequence: Sequence, reason: FinishReason) -> RequestUpdate:
    """Return the last update of a sequence that ends between two steps."""
    return RequestUpdate(
        request_id=sequence.request.request_id,
        finish_reason=reason,
        output_token_ids=sequence.output_token_ids,
        num_cached_tokens=sequence.num_cached_tokens or 0,
        prompt_logprobs=sequence.scores,
    )


def _find_news(books: Books, rows: np.ndarray, token_ids: np.ndarray, samples: np.ndarray) -> list[_News]:
    """Look which tokens end their sequences, in the order EOS, stop token, length."""
    table = books.rows
    is_eos = np.zeros(len(rows), dtype=np.bool_)
    for eos_token_id in books.config.eos_token_ids:
        is_eos |= token_ids == eos_token_id
    is_eos &= table.ends_at_eos[rows]
    is_full = table.num_known[rows] == table.max_total[rows]
    needs_a_look = is_eos | is_full | table.wants_updates[rows] | table.has_stop_ids[rows]
    news = []
    for index in np.flatnonzero(needs_a_look).tolist():
        sequence, token_id = table.sequence(int(rows[index])), int(token_ids[index])
        reason, stop_token_id = _find_end(sequence, token_id, is_eos=bool(is_eos[index]), is_full=bool(is_full[index]))
        if reason is not None or sequence.request.wants_updates:
            news.append(_News(sequence, token_id, int(samples[index]), reason, stop_token_id))
    return news


def _find_end(
    sequence: Sequence, token_id: int, *, is_eos: bool, is_full: bool
) -> tuple[FinishReason | None, int | None]:
    if is_eos:
        return FinishReason.STOP, None
    if token_id in (sequence.request.sampling_params.stop_token_ids or ()):
        return FinishReason.STOP, token_id
    return (FinishReason.LENGTH if is_full else None), None


def _id_of(news: _News) -> int:
    return news.sequence.request.request_id


def _update(all_news: list[_News], logprobs: LogprobArrays | None, sample_to_index: dict[int, int]) -> RequestUpdate:
    """Return what the step brought one request; ``all_news`` in order."""
    news = all_news[-1]
    request = news.sequence.request
    num_top = request.sampling_params.num_logprobs
    entries: tuple[TokenLogprobs, ...] = ()
    if num_top is not None:
        assert logprobs is not None, f"request {request.request_id} wants logprobs and the runner sent none"
        entries = (_token_logprobs(logprobs, sample_to_index[news.sample], num_top),)
    return RequestUpdate(
        request_id=request.request_id,
        new_token_ids=tuple(each.token_id for each in all_news) if request.wants_updates else (),
        logprobs=entries,
        finish_reason=news.finish_reason,
        stop_token_id=news.stop_token_id,
        output_token_ids=None if news.finish_reason is None else news.sequence.output_token_ids,
        num_cached_tokens=news.sequence.num_cached_tokens or 0,
        prompt_logprobs=news.sequence.scores,
        embedding=None if news.sequence.pooled is None else embedding_of(news.sequence),
    )


def _by_sample(logprobs: LogprobArrays) -> dict[int, int]:
    return {sample: index for index, sample in enumerate(logprobs.sample_positions.tolist())}


def _token_logprobs(logprobs: LogprobArrays, index: int, num_top: int) -> TokenLogprobs:
    """Return one entry, cut to what its request asked for: the arrays are as wide as the greediest wants."""
    return TokenLogprobs(
        logprob=float(logprobs.sampled_logprobs[index]),
        rank=int(logprobs.ranks[index]),
        top_token_ids=tuple(logprobs.top_token_ids[index, :num_top].tolist()),
        top_logprobs=tuple(logprobs.top_logprobs[index, :num_top].tolist()),
    )

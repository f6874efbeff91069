"""Runs of forced tokens: what a row's grammar left no choice about is appended, then computed in one go.

Such tokens are known without having been sampled. The row computes them like a chunk of its prompt, the token that it
sampled last ahead of them, and samples after the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pagednb.request import Request, RequestUpdate
from pagednb.scheduler.books import Books
from pagednb.scheduler.output import PrefillChunk
from pagednb.scheduler.plan_builder import PlanBuilder


class ForcedTokens(NamedTuple):
    """The only tokens that can follow what a request has said so far; at least one."""

    request_id: int
    token_ids: Sequence[int]


def first_forced_tokens(request: Request, eos_token_ids: tuple[int, ...]) -> np.ndarray:
    """Return the tokens with which every answer to ``request`` begins, as far as they need not be sampled: int32.

    None for a fork, which shares the last block of its parent's prompt, and where somebody hears of every token.
    """
    token_ids: Sequence[int] = ()
    if request.grammar is not None and request.takes_forced_tokens and not request.wants_updates:
        token_ids = request.grammar.first_token_ids if request.parent_id is None else ()
    return _cut(request, token_ids, eos_token_ids, num_left=request.max_tokens)


def append_forced(books: Books, forced: Iterable[ForcedTokens]) -> list[RequestUpdate]:
    """Give rows the tokens that are forced on them; return the news of those that are watched."""
    table, updates = books.rows, []
    for request_id, token_ids in forced:
        row = table.row_of[request_id]
        sequence = table.sequence(row)
        num_left = int(table.max_total[row] - table.num_tokens[row])
        run = _cut(sequence.request, token_ids, books.config.eos_token_ids, num_left=num_left)
        if not len(run):
            continue
        table.append_run(row, run)
        if sequence.request.wants_updates:
            num_cached_tokens = sequence.num_cached_tokens or 0
            news = tuple(run.tolist())
            updates.append(
                RequestUpdate(request_id=request_id, new_token_ids=news, num_cached_tokens=num_cached_tokens)
            )
    return updates


def plan_runs(books: Books, plan: PlanBuilder, rows: np.ndarray) -> None:
    """Let ``rows``, which have runs and for which there are blocks, compute as much of them as the budget holds."""
    table = books.rows
    if not len(rows):
        return
    num_new = table.num_pending(rows)
    if num_new.sum() > plan.num_tokens_left:
        rows = np.array(sorted(rows.tolist(), key=books.order), dtype=np.int32)
        num_pending = table.num_pending(rows)
        num_new = np.clip(plan.num_tokens_left - (num_pending.cumsum() - num_pending), 0, num_pending)
        rows, num_new = rows[num_new > 0], num_new[num_new > 0]
    starts = table.num_computed[rows]
    while len(needy := rows[books.blocks.num_slots(rows) < starts + num_new]):
        plan.grow(books.blocks.extend_rows(needy))
    samples = table.advance_runs(rows, num_new)
    chunks = zip(rows.tolist(), starts.tolist(), (starts + num_new).tolist(), samples.tolist(), strict=True)
    for row, start, stop, is_end in chunks:
        first = start - int(table.num_prompt[row])
        token_ids = table.output(row)[first : first + stop - start].copy()
        chunk = PrefillChunk(row=row, start=start, token_ids=token_ids, samples=is_end)
        plan.prefill(chunk, int(table.request_ids[row]))


def _cut(request: Request, token_ids: Sequence[int], eos_token_ids: tuple[int, ...], *, num_left: int) -> np.ndarray:
    """Return the leading ones that cannot end the request, less than it has left: its last token is sampled."""
    ends = {*eos_token_ids, *(request.sampling_params.stop_token_ids or ())}
    num_kept = 0
    while num_kept < min(len(token_ids), num_left - 1) and token_ids[num_kept] not in ends:
        num_kept += 1
    return np.array(token_ids[:num_kept], dtype=np.int32)

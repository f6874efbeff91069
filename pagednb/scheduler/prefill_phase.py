"""Second and third phase of a step: prompts under way go on, then waiting requests come in, while budget lasts.

Requests whose stream somebody watches come in before either. A chunk that does not end its tokens has used up the
budget, so of the others at most one is in the middle of its prompt.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pagednb.scheduler.books import Books
from pagednb.scheduler.output import Admission, PrefillChunk
from pagednb.scheduler.plan_builder import PlanBuilder
from pagednb.scheduler.sequence import Sequence


class _Start(NamedTuple):
    """How a sequence would begin: what it shares, and how many free blocks it needs now and soon."""

    parent_row: int | None
    shared_block_ids: np.ndarray
    num_computed: int
    num_free_wanted: int


def plan_prefills(books: Books, plan: PlanBuilder) -> None:
    """Continue the prompts under way."""
    for row in sorted(books.rows.prefilling, key=books.order):
        start = int(books.rows.num_computed[row])
        wanted = min(int(books.rows.num_tokens[row]) - start, plan.num_tokens_left)
        num_slots = (int(books.blocks.num_blocks[row]) + books.blocks.pool.num_free) * books.blocks.block_size
        num_scheduled = min(wanted, num_slots - start)
        if num_scheduled < wanted:
            plan.is_short_of_blocks = True
        if num_scheduled > 0:
            plan.grow(books.blocks.extend_row(row, start + num_scheduled))
            _plan_chunk(books, plan, row, num_scheduled)


def make_room_for_watched(books: Books) -> None:
    """Before a step: let requests that nobody watches give up rows and blocks for a watched one that waits."""
    sequence = books.waiting.peek()
    if sequence is None or not sequence.request.stream:
        return
    # more than it needs if it shares a prefix
    num_wanted = books.blocks.blocks_ahead(len(sequence.token_ids), sequence.request.max_total_tokens)
    unwatched = [row for row in books.rows.row_of.values() if not books.rows.sequence(row).request.stream]
    last_served_at_end = sorted((row for row in unwatched if books.order(row) > sequence.order), key=books.order)
    while last_served_at_end and not (
        books.rows.has_free_row and books.blocks.pool.num_free >= num_wanted + _num_promised_blocks(books)
    ):
        books.preempt(last_served_at_end.pop())


def plan_admissions(books: Books, plan: PlanBuilder, *, only_watched: bool = False) -> None:
    """Admit waiting requests in order, until the first that does not fit. Nobody comes in while blocks are short."""
    sequence = None if plan.is_short_of_blocks else books.waiting.peek()
    if sequence is None:
        return
    num_promised = _num_promised_blocks(books)
    pool = books.blocks.pool
    while sequence is not None and plan.num_tokens_left and books.rows.has_free_row:
        if only_watched and not sequence.request.stream:
            return
        start = _find_start(books, plan, sequence)
        num_free = pool.num_free
        if start.num_free_wanted + num_promised > num_free:
            return
        _admit(books, plan, books.waiting.pop(), start)
        num_promised += start.num_free_wanted - (num_free - pool.num_free)
        sequence = books.waiting.peek()


def unpark_forks(books: Books, plan: PlanBuilder) -> None:
    """Queue the forks of prompts that end in this step; from the next step on there is something to share."""
    for row in plan.rows_ending_prefill:
        books.waiting.unpark(books.rows.sequence(row).request.request_id)


def _find_start(books: Books, plan: PlanBuilder, sequence: Sequence) -> _Start:
    blocks, token_ids = books.blocks, sequence.token_ids
    num_wanted = blocks.blocks_ahead(len(token_ids), sequence.request.max_total_tokens)
    parent_row = _parent_row(books, plan, sequence)
    if parent_row is not None:
        assert books.rows.num_prompt[parent_row] == len(token_ids), "a fork has another prompt than its parent"
        shared = blocks.table(parent_row)[: blocks.blocks_for(len(token_ids))]
        # all shared but the last, which is copied
        return _Start(parent_row, shared, len(token_ids) - 1, num_wanted - len(shared) + 1)
    match = blocks.find_prefix(sequence.block_digests, token_ids, sequence.request.cache_salt)
    num_computed = len(match.block_ids) * blocks.block_size
    return _Start(None, match.block_ids, num_computed, num_wanted - match.num_used)


def _parent_row(books: Books, plan: PlanBuilder, sequence: Sequence) -> int | None:
    """Return the row whose prompt blocks a fork can share: written before this step, for they are copied first."""
    parent_id = sequence.request.parent_id
    if parent_id is None or len(sequence.output_token_ids):
        return None
    row = books.rows.row_of.get(parent_id)
    if row is None or row in books.rows.prefilling or books.rows.decodes_since[row] == plan.step:
        return None
    return row


def _num_promised_blocks(books: Books) -> int:
    """Return how many free blocks the running requests need soon; or one might come in only to be sent back."""
    rows, blocks = books.rows, books.blocks
    # BlockManager.blocks_ahead for all rows at once; a free row has max_total 0, no blocks, and needs none
    num_tokens = np.minimum(rows.num_tokens - 1 + blocks.block_size, rows.max_total - 1)
    return int((-(-num_tokens // blocks.block_size) - blocks.num_blocks).sum())


def _admit(books: Books, plan: PlanBuilder, sequence: Sequence, start: _Start) -> None:
    request, token_ids, blocks = sequence.request, sequence.token_ids, books.blocks
    num_scheduled = min(len(token_ids) - start.num_computed, plan.num_tokens_left)
    row = books.rows.take(sequence, num_computed=start.num_computed, step=plan.step)
    blocks.open_row(row, start.shared_block_ids, start.num_computed + num_scheduled)
    copied = blocks.make_writable(row, start.num_computed)
    if copied is not None:
        plan.copy_block(*copied)
    if sequence.num_cached_tokens is None:
        sequence.num_cached_tokens = start.num_computed
        books.counters.num_prefix_tokens_asked += len(token_ids)
        books.counters.num_prefix_tokens_hit += start.num_computed
    plan.admit(
        Admission(
            row=row,
            token_ids=token_ids,
            num_prompt_tokens=request.num_prompt_tokens,
            num_computed_tokens=start.num_computed,
            max_total_tokens=request.max_total_tokens,
            block_ids=blocks.table(row),
            sampling_params=request.sampling_params,
            seed=request.seed,
        )
    )
    _plan_chunk(books, plan, row, num_scheduled)


def _plan_chunk(books: Books, plan: PlanBuilder, row: int, num_scheduled: int) -> None:
    """Compute the row's next known tokens; blocks are there."""
    sequence, block_size = books.rows.sequence(row), books.blocks.block_size
    start = int(books.rows.num_computed[row])
    stop = start + num_scheduled
    samples = books.rows.advance_prefill(row, num_scheduled, step=plan.step)
    chunk = PrefillChunk(row=row, start=start, token_ids=sequence.token_ids[start:stop], samples=samples)
    plan.prefill(chunk, sequence.request.request_id)
    if sequence.block_digests:
        books.blocks.register_prefix(row, sequence.block_digests, range(start // block_size, stop // block_size))

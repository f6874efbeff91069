"""Second and third phase of a step: prompts under way go on, then waiting requests come in, while budget lasts.

Requests whose stream somebody watches come in before either. A chunk that does not end its tokens has used up the
budget, so of the others at most one is in the middle of its prompt.
"""

from __future__ import annotations

import numpy as np

from pagednb.scheduler.arrivals import Arrivals
from pagednb.scheduler.books import Books
from pagednb.scheduler.output import PrefillChunk
from pagednb.scheduler.plan_builder import PlanBuilder
from pagednb.scheduler.prompt_pooling import pooling_of
from pagednb.scheduler.prompt_scores import scoring_of
from pagednb.scheduler.start import find_start


def plan_prefills(books: Books, plan: PlanBuilder, *, only_watched: bool = False) -> None:
    """Continue the prompts under way."""
    for row in sorted(books.rows.prefilling, key=books.order):
        if only_watched and not books.rows.sequence(row).request.stream:
            continue
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
    rows, blocks = books.rows, books.blocks
    unwatched = [row for row in rows.row_of.values() if not rows.sequence(row).request.stream]
    last_served_at_end = sorted((row for row in unwatched if books.order(row) > sequence.order), key=books.order)
    # more than it needs if it shares a prefix
    num_wanted = blocks.blocks_ahead(len(sequence.token_ids), sequence.request.max_total_tokens)
    if not last_served_at_end or not _could_fit(books, num_wanted, giving_up=last_served_at_end):
        return
    while last_served_at_end and not (
        rows.has_free_row and blocks.pool.num_free >= num_wanted + _num_promised_blocks(books, num_ahead=1)
    ):
        books.preempt(last_served_at_end.pop())


def plan_admissions(books: Books, plan: PlanBuilder, *, only_watched: bool = False) -> None:
    """Admit waiting requests in order, until the first that does not fit. Nobody comes in while blocks are short."""
    sequence = None if plan.is_short_of_blocks else books.waiting.peek()
    if sequence is None:
        return
    arrivals = Arrivals(books, plan)
    num_left = books.blocks.pool.num_free - _num_promised_blocks(books)
    while sequence is not None and plan.num_tokens_left and books.rows.has_free_row:
        if only_watched and not sequence.request.stream:
            break
        start = find_start(books, sequence, step=plan.step)
        if arrivals.would_share(sequence, start):
            arrivals.enter()
            start = find_start(books, sequence, step=plan.step)
        num_left -= start.num_free_wanted
        if num_left < 0:
            break
        arrivals.add(books.waiting.pop(), start)
        sequence = books.waiting.peek()
    arrivals.enter()


def unpark_forks(books: Books, plan: PlanBuilder) -> None:
    """Queue the forks of prompts that end in this step; from the next step on there is something to share."""
    for row in plan.rows_ending_prefill:
        books.waiting.unpark(books.rows.sequence(row).request.request_id)


def _could_fit(books: Books, num_wanted: int, *, giving_up: list[int]) -> bool:
    """Whether ``num_wanted`` blocks would be free if these rows left; blocks that they share count as often."""
    blocks = books.blocks
    return num_wanted <= blocks.pool.num_free + int(blocks.num_blocks[giving_up].sum())


def _num_promised_blocks(books: Books, *, num_ahead: int = 0) -> int:
    """Return how many free blocks the running requests need soon; or one might come in only to be sent back.

    With ``num_ahead`` 1, after the decodes of the step that is about to be planned.
    """
    rows, blocks = books.rows, books.blocks
    # BlockManager.blocks_ahead for all rows at once; a free row has max_total 0, no blocks, and needs none
    num_tokens = np.minimum(rows.num_tokens + num_ahead - 1 + blocks.block_size, rows.max_total - 1)
    return int((-(-num_tokens // blocks.block_size) - blocks.num_blocks).sum())


def _plan_chunk(books: Books, plan: PlanBuilder, row: int, num_scheduled: int) -> None:
    """Compute the row's next known tokens; blocks are there."""
    sequence, block_size = books.rows.sequence(row), books.blocks.block_size
    start = int(books.rows.num_computed[row])
    stop = start + num_scheduled
    samples = books.rows.advance_prefill(row, num_scheduled, step=plan.step)
    scoring = scoring_of(sequence, start, stop) if sequence.wants_scores else None
    token_ids = sequence.token_ids[start:stop]
    pooling = pooling_of(sequence.request, start, stop) if sequence.request.pooling is not None else None
    chunk = PrefillChunk(row=row, start=start, token_ids=token_ids, samples=samples, scoring=scoring, pooling=pooling)
    plan.prefill(chunk, sequence.request.request_id)
    if sequence.block_digests:
        books.blocks.register_prefix(row, sequence.block_digests, range(start // block_size, stop // block_size))

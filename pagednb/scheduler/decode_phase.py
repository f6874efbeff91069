"""First phase of a step: every running request that decodes gets its tokens, and blocks where it needs them.

One token each, or several in one go when nothing between them needs the host. When blocks run out, the requests served
last give theirs up. No Python work per request unless that happens.
"""

from __future__ import annotations

import numpy as np

from pagednb.scheduler.books import Books
from pagednb.scheduler.plan_builder import PlanBuilder


def plan_decodes(books: Books, plan: PlanBuilder, *, max_decode_steps: int) -> None:
    """Let all ready rows compute one token, or up to ``max_decode_steps`` where that is possible."""
    rows = books.rows.ready_rows
    num_steps = _num_steps(books, rows, max_decode_steps)
    counts = _counts(books, rows, num_steps)
    if num_steps > 1 and _num_wanted(books, rows, counts) > books.blocks.pool.num_free:
        num_steps, counts = 1, None
    if _num_wanted(books, rows, counts) > books.blocks.pool.num_free:
        plan.is_short_of_blocks = True
        rows = _rows_that_go_on(books)
    if not len(rows):
        return
    num_new = 1 if counts is None else counts
    ends = books.rows.num_computed[rows] + num_new
    while len(needy := rows[books.blocks.num_slots(rows) < ends]):
        plan.grow(books.blocks.extend_rows(needy))
    plan.decode(
        rows, books.rows.request_ids[rows], max_seq_len=int(ends.max()), num_steps=num_steps, decode_counts=counts
    )
    books.rows.advance_decodes(rows, num_new)


def _may_run_ahead(books: Books) -> bool:
    """Whether several steps can go out at once: no row needs the host between them, and nobody could come in."""
    rows = books.rows
    if rows.prefilling or rows.num_stepwise:
        return False
    return not len(books.waiting) or not rows.has_free_row


def _num_steps(books: Books, rows: np.ndarray, max_decode_steps: int) -> int:
    """Return how many steps go out at once: no more than the longest of ``rows`` has left, as a power of two."""
    if max_decode_steps == 1 or not _may_run_ahead(books):
        return 1
    num_left = books.rows.max_total[rows] - books.rows.num_tokens[rows]
    return min(max_decode_steps, 1 << (int(num_left.max(initial=1)) - 1).bit_length())


def _counts(books: Books, rows: np.ndarray, num_steps: int) -> np.ndarray | None:
    """Return how many of ``num_steps`` tokens each of ``rows`` has still to sample, int32; None for one each."""
    if num_steps == 1:
        return None
    num_left = books.rows.max_total[rows] - books.rows.num_tokens[rows]
    counts: np.ndarray = np.minimum(num_left, num_steps).astype(np.int32)
    return counts


def _num_wanted(books: Books, rows: np.ndarray, counts: np.ndarray | None) -> int:
    """Return how many blocks ``rows`` need for their next tokens: one each, or ``counts``."""
    ends = books.rows.num_computed[rows] + (1 if counts is None else counts)
    missing = -(-ends // books.blocks.block_size) - books.blocks.num_blocks[rows]
    return int(np.maximum(missing, 0).sum())


def _without_room(books: Books, rows: np.ndarray) -> np.ndarray:
    """Return those of ``rows`` whose blocks are full."""
    needy: np.ndarray = rows[books.rows.num_computed[rows] == books.blocks.num_slots(rows)]
    return needy


def _rows_that_go_on(books: Books) -> np.ndarray:
    """Settle a shortage and return the rows that decode in this step."""
    rows = books.rows
    has_ended = (rows.num_tokens == rows.max_total) & (rows.max_total > 0)
    if has_ended.any():
        # their blocks come back as soon as the tokens in flight are read: sooner than anyone could compute again
        return _without_excess(books)
    last_served_at_end = sorted(rows.row_of.values(), key=books.order)
    while len(_without_room(books, rows.ready_rows)) > books.blocks.pool.num_free:
        books.preempt(last_served_at_end.pop())
    return rows.ready_rows


def _without_excess(books: Books) -> np.ndarray:
    """Return the ready rows less those for which no block is left; they stay and wait."""
    rows = books.rows.ready_rows
    needy = sorted(_without_room(books, rows).tolist(), key=books.order)
    return rows[~np.isin(rows, needy[books.blocks.pool.num_free :])]

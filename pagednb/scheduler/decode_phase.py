"""First phase of a step: every running request that decodes gets its tokens, and blocks where it needs them.

One token each, or several in one go when nothing between them needs the host; then the runs of forced tokens. When
blocks run out, the requests served last give theirs up. No Python work per decoding request unless that happens.
"""

from __future__ import annotations

import numpy as np

from pagednb.scheduler.books import Books
from pagednb.scheduler.plan_builder import PlanBuilder
from pagednb.scheduler.run_phase import plan_runs


def plan_decodes(books: Books, plan: PlanBuilder, *, max_decode_steps: int) -> None:
    """Let all ready rows compute one token, or up to ``max_decode_steps`` where that is possible, and runs theirs."""
    rows, runs = books.rows.ready_rows, books.rows.run_rows
    num_steps = _num_steps(books, rows, max_decode_steps)
    counts = _counts(books, rows, num_steps)
    if num_steps > 1 and _num_wanted(books, rows, counts) > books.blocks.pool.num_free:
        num_steps, counts = 1, None
    if _num_wanted(books, rows, counts) + _num_wanted_by_runs(books, runs) > books.blocks.pool.num_free:
        plan.is_short_of_blocks = True
        rows, runs = _rows_that_go_on(books)
    if len(rows):
        _plan_ready(books, plan, rows, counts, num_steps=num_steps)
    plan_runs(books, plan, runs)


def _plan_ready(
    books: Books, plan: PlanBuilder, rows: np.ndarray, counts: np.ndarray | None, *, num_steps: int
) -> None:
    """Let ``rows`` compute one token each, or ``counts``; there are blocks for them."""
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


def _num_missing(books: Books, rows: np.ndarray, num_new: np.ndarray | int) -> np.ndarray:
    """Return how many blocks each of ``rows`` needs for its next ``num_new`` tokens."""
    ends = books.rows.num_computed[rows] + num_new
    missing: np.ndarray = np.maximum(-(-ends // books.blocks.block_size) - books.blocks.num_blocks[rows], 0)
    return missing


def _num_wanted(books: Books, rows: np.ndarray, counts: np.ndarray | None = None) -> int:
    """Return how many blocks ``rows`` need for their next tokens: one each, or ``counts``."""
    return int(_num_missing(books, rows, 1 if counts is None else counts).sum())


def _num_wanted_by_runs(books: Books, runs: np.ndarray) -> int:
    return int(_num_missing(books, runs, books.rows.num_pending(runs)).sum()) if len(runs) else 0


def _rows_that_go_on(books: Books) -> tuple[np.ndarray, np.ndarray]:
    """Settle a shortage and return the rows that decode in this step, and those that compute of their runs."""
    rows = books.rows
    has_ended = (rows.num_tokens == rows.max_total) & (rows.max_total > 0)
    if has_ended.any():
        # their blocks come back as soon as the tokens in flight are read: sooner than anyone could compute again
        return _without_excess(books)
    last_served_at_end = sorted(rows.row_of.values(), key=books.order)
    while True:
        ready, runs = rows.ready_rows, rows.run_rows
        if _num_wanted(books, ready) + _num_wanted_by_runs(books, runs) <= books.blocks.pool.num_free:
            return ready, runs
        books.preempt(last_served_at_end.pop())


def _without_excess(books: Books) -> tuple[np.ndarray, np.ndarray]:
    """Return the ready rows, and those with runs, less those for which no block is left; they stay and wait."""
    ready, runs = books.rows.ready_rows, books.rows.run_rows
    going = np.concatenate([ready, runs])
    num_missing = _num_missing(books, going, books.rows.num_pending(going))
    last_served_at_end = sorted(np.flatnonzero(num_missing).tolist(), key=lambda index: books.order(int(going[index])))
    is_left_out = num_missing[last_served_at_end].cumsum() > books.blocks.pool.num_free
    left_out = going[last_served_at_end][is_left_out]
    return ready[~np.isin(ready, left_out)], runs[~np.isin(runs, left_out)]

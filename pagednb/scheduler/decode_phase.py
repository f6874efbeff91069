"""First phase of a step: every running request that decodes gets its token, and a block where it needs one.

When blocks run out, the requests served last give theirs up. No Python work per request unless that happens.
"""

from __future__ import annotations

import numpy as np

from pagednb.scheduler.books import Books
from pagednb.scheduler.plan_builder import PlanBuilder


def plan_decodes(books: Books, plan: PlanBuilder) -> None:
    """Let all decoding rows compute one token."""
    rows = books.rows.decode_rows
    needy = _without_room(books, rows)
    if len(needy) > books.blocks.pool.num_free:
        plan.is_short_of_blocks = True
        rows = _rows_that_go_on(books)
        needy = _without_room(books, rows)
    if not len(rows):
        return
    plan.grow(books.blocks.extend_rows(needy))
    num_computed = books.rows.num_computed[rows]
    plan.decode(rows, books.rows.request_ids[rows], max_seq_len=int(num_computed.max()) + 1)
    books.rows.advance_decodes(rows)


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
    while len(_without_room(books, rows.decode_rows)) > books.blocks.pool.num_free:
        books.preempt(last_served_at_end.pop())
    return rows.decode_rows


def _without_excess(books: Books) -> np.ndarray:
    """Return the decode rows less those for which no block is left; they stay and wait."""
    rows = books.rows.decode_rows
    needy = sorted(_without_room(books, rows).tolist(), key=books.order)
    return rows[~np.isin(rows, needy[books.blocks.pool.num_free :])]

"""Which rows go by their output: those that sample under a constraint in a plan, those that a grammar may force."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pagednb.request import Request
from pagednb.scheduler.output import SchedulerOutput
from pagednb.scheduler.row_table import RowTable


class ConstrainedSample(NamedTuple):
    """A sampled row whose request has a grammar, token rules or logits processors.

    Attributes:
        position: its index in ``sampled_rows``.
        output_token_ids: int32, all of its output: none is in flight. Valid until the next update.
    """

    position: int
    request: Request
    output_token_ids: np.ndarray


class ConstrainedRow(NamedTuple):
    """A row whose request has a grammar, and all of its output, as in ``ConstrainedSample``."""

    request: Request
    output_token_ids: np.ndarray


def constrained_samples(rows: RowTable, plan: SchedulerOutput) -> list[ConstrainedSample]:
    """Return the constrained rows that ``plan``, just made, samples."""
    if not rows.num_constrained:
        return []
    positions = np.flatnonzero(rows.is_constrained[plan.sampled_rows])
    return [_sample(rows, int(position), int(plan.sampled_rows[position])) for position in positions]


def unread_rows(rows: RowTable) -> list[ConstrainedRow]:
    """Return the rows that have sampled something since the last call and whose grammars may force what follows."""
    if not rows.num_constrained:
        return []
    unread = np.flatnonzero(rows.is_unread & rows.is_decoding)
    rows.is_unread[:] = False
    return [ConstrainedRow(rows.sequence(row).request, rows.output(row)) for row in unread.tolist()]


def _sample(rows: RowTable, position: int, row: int) -> ConstrainedSample:
    return ConstrainedSample(position, rows.sequence(row).request, rows.output(row))

"""Which rows of a plan sample under a constraint, and what they have said so far."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pagednb.request import Request
from pagednb.scheduler.output import SchedulerOutput
from pagednb.scheduler.row_table import RowTable


class ConstrainedSample(NamedTuple):
    """A sampled row whose request has a grammar.

    Attributes:
        position: its index in ``sampled_rows``.
        output_token_ids: int32, all of its output: none is in flight. Valid until the next update.
    """

    position: int
    request: Request
    output_token_ids: np.ndarray


def constrained_samples(rows: RowTable, plan: SchedulerOutput) -> list[ConstrainedSample]:
    """Return the constrained rows that ``plan``, just made, samples."""
    if not rows.num_constrained:
        return []
    positions = np.flatnonzero(rows.is_constrained[plan.sampled_rows])
    return [_sample(rows, int(position), int(plan.sampled_rows[position])) for position in positions]


def _sample(rows: RowTable, position: int, row: int) -> ConstrainedSample:
    return ConstrainedSample(position, rows.sequence(row).request, rows.output(row))

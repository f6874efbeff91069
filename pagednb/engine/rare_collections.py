"""Fewer full garbage collections while an engine works.

Python looks for cycles among all objects of the process once enough new ones have lived for a while. Requests do that:
they wait, are computed, and go without leaving a cycle. So thousands of rows would bring on a search through everything
that torch, pandas and the notebook hold, 0.1 s in which no step can be launched, to find nothing. Searches among young
objects stay as they are, and a full one still comes, later; the thresholds are put back when the work is done.
"""

from __future__ import annotations

import gc

from pagednb.engine.borrowed_setting import BorrowedSetting

MIN_COLLECTIONS_BETWEEN = 1000
"""Collections of the middle generation between two full ones, some 8 million new objects; Python's default is 10."""

Thresholds = tuple[int, int, int]


def _rarer(usual: Thresholds) -> Thresholds:
    young, middle, full = usual
    return young, middle, max(full, MIN_COLLECTIONS_BETWEEN)


class RareCollections(BorrowedSetting[Thresholds]):
    """See the module."""

    def __init__(self) -> None:
        super().__init__(gc.get_threshold, lambda thresholds: gc.set_threshold(*thresholds), _rarer)


RARE_COLLECTIONS = RareCollections()
"""The process has one collector, so there is one keeper of it."""

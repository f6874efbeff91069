"""The garbage collector's thresholds: full collections are rare while an engine works, then what they were."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from pagednb.engine.rare_collections import MIN_COLLECTIONS_BETWEEN, RareCollections

USUAL = (700, 10, 10)


@pytest.fixture(autouse=True)
def usual_thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*USUAL)
    yield
    gc.set_threshold(*before)


def test_only_full_collections_are_rare_and_the_last_to_leave_puts_them_back() -> None:
    rare = RareCollections()
    with rare:
        with rare:
            assert gc.get_threshold() == (700, 10, MIN_COLLECTIONS_BETWEEN)
        assert gc.get_threshold() == (700, 10, MIN_COLLECTIONS_BETWEEN)
    assert gc.get_threshold() == USUAL


def test_a_fault_inside_puts_them_back() -> None:
    with pytest.raises(ZeroDivisionError), RareCollections():
        _ = 1 / 0
    assert gc.get_threshold() == USUAL


@pytest.mark.parametrize("theirs", [(0, 10, 10), (50_000, 20, 100), (700, 10, 5000)])
def test_what_others_set_meanwhile_stays(theirs: tuple[int, int, int]) -> None:
    with RareCollections():
        gc.set_threshold(*theirs)
    assert gc.get_threshold() == theirs


def test_rarer_ones_stay_as_they_are() -> None:
    gc.set_threshold(700, 10, 5000)
    with RareCollections():
        assert gc.get_threshold() == (700, 10, 5000)
    assert gc.get_threshold() == (700, 10, 5000)

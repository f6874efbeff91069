"""Cutting against a search of all lengths: the longest prompt that fits, with the template whole."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagednb.dataframe.prompts.truncation import CUT_MARK, check_truncate, cut, shortened
from pagednb.errors import OptionError

SIDES = ("left", "right", "middle")
pieces = st.lists(st.tuples(st.text("ab é", max_size=200), st.booleans()), max_size=5)


@given(pieces, st.integers(0, 500), st.sampled_from(SIDES))
def test_the_longest_that_fits(parts: list[tuple[str, bool]], limit: int, side: str) -> None:
    whole = "".join(text for text, _ in parts)
    most = max((len(text) for text, is_value in parts if is_value), default=0)
    candidates = [
        "".join(cut(text, length, side) if is_value else text for text, is_value in parts) for length in range(most + 1)
    ]
    fitting = [text for length, text in enumerate(candidates) if all(len(c) <= limit for c in candidates[: length + 1])]
    found = shortened(parts, lambda text: len(text) <= limit, side)
    if len(candidates[0]) > limit:
        assert found is None
    elif len(whole) <= limit and len(fitting) == len(candidates):
        assert found == whole
    else:
        assert found is not None and len(found) <= limit
        assert found in fitting or found in candidates


@pytest.mark.parametrize(("side", "expected"), [("left", "…789"), ("right", "012…"), ("middle", "01…9")])
def test_which_part_goes(side: str, expected: str) -> None:
    assert cut("0123456789", 3, side) == expected
    assert cut("012", 3, side) == "012"
    assert cut("0123", 0, side) == CUT_MARK


def test_the_longest_value_is_cut_and_the_template_stays() -> None:
    parts = [("Title: ", False), ("short", True), (" Text: ", False), ("x" * 1000, True), ("\nTeam?", False)]
    found = shortened(parts, lambda text: len(text) <= 60, "right")
    assert found == f"Title: short Text: {'x' * 34}{CUT_MARK}\nTeam?"
    assert shortened(parts, lambda text: len(text) <= 20, "right") is None


def test_huge_values_are_not_tried_as_a_whole() -> None:
    tried: list[int] = []

    def fits(text: str) -> bool:
        tried.append(len(text))
        return len(text) <= 3000

    found = shortened([("y" * 10**7, True)], fits, "left")
    assert found is not None and len(found) == 3000
    assert max(tried) < 10_000 and len(tried) < 30


def test_unknown_sides_are_refused() -> None:
    for side in itertools.chain(("error",), SIDES):
        check_truncate(side)
    for bad in ("end", None, True, ["left"]):
        with pytest.raises(OptionError, match="truncate"):
            check_truncate(bad)

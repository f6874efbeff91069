"""The interpreter's switch interval: short while an engine works, then what it was."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator

import pytest

from pagednb.engine.switch_interval import SHORT_INTERVAL_S, ShortTurns

USUAL_S = 0.005


@pytest.fixture(autouse=True)
def usual_interval() -> Iterator[None]:
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(USUAL_S)
    yield
    sys.setswitchinterval(before_s)


def test_it_is_short_inside_and_put_back_by_the_last_to_leave() -> None:
    turns = ShortTurns()
    with turns:
        with turns:
            assert sys.getswitchinterval() == pytest.approx(SHORT_INTERVAL_S)
        assert sys.getswitchinterval() == pytest.approx(SHORT_INTERVAL_S)
    assert sys.getswitchinterval() == pytest.approx(USUAL_S)


def test_a_fault_inside_puts_it_back() -> None:
    with pytest.raises(ZeroDivisionError), ShortTurns():
        _ = 1 / 0
    assert sys.getswitchinterval() == pytest.approx(USUAL_S)


@pytest.mark.parametrize("theirs_s", [0.00005, 0.02])
def test_what_others_set_stays(theirs_s: float) -> None:
    turns = ShortTurns()
    with turns:
        sys.setswitchinterval(theirs_s)
    assert sys.getswitchinterval() == pytest.approx(theirs_s)
    if theirs_s < SHORT_INTERVAL_S:
        with turns:
            assert sys.getswitchinterval() == pytest.approx(theirs_s), "never longer than it was"


def test_a_process_forked_meanwhile_has_the_usual_one_and_can_shorten_it_itself() -> None:
    """Whatever thread was inside is not there: nobody else would put it back."""
    turns = ShortTurns()
    with turns, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which this is about
        child = os.fork()
        if child == 0:
            seen_s = [sys.getswitchinterval()]
            with turns:
                seen_s.append(sys.getswitchinterval())
            seen_s.append(sys.getswitchinterval())
            os._exit(seen_s != pytest.approx([USUAL_S, SHORT_INTERVAL_S, USUAL_S]))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert sys.getswitchinterval() == pytest.approx(SHORT_INTERVAL_S)

"""The sampler's thread: it ends when told to, when there is nothing left to see, in silence when something fails."""

from __future__ import annotations

import threading

import pytest

from pagednb.monitoring.sampler import (
    IDLE_INTERVAL_S,
    MAX_BYTES_PER_S,
    MAX_SHARE,
    MIN_INTERVAL_S,
    Look,
    Sampler,
    interval_s,
)

QUICK = Look(engine_s=0.0, num_bytes=0, is_working=True)


def test_its_share_of_the_time_and_its_bytes_are_bounded() -> None:
    assert interval_s(QUICK, own_s=0.0) == MIN_INTERVAL_S
    assert interval_s(QUICK._replace(is_working=False), own_s=0.0) == IDLE_INTERVAL_S
    for engine_s, own_s, num_bytes in [(0.001, 0.002, 10_000), (0.02, 0.0, 0), (0.0, 0.05, 500_000)]:
        wait_s = interval_s(Look(engine_s, num_bytes, is_working=True), own_s=own_s)
        assert (engine_s + own_s) / wait_s <= MAX_SHARE * 1.001
        assert num_bytes / wait_s <= MAX_BYTES_PER_S * 1.001


def test_it_looks_until_it_is_stopped() -> None:
    has_looked = threading.Event()

    def look() -> Look:
        has_looked.set()
        return QUICK

    sampler = Sampler(look)
    sampler.start()
    assert has_looked.wait(30) and sampler.is_running
    sampler.stop()
    sampler.stop()
    assert not sampler.is_running and not thread_names()


def test_it_ends_when_there_is_nothing_to_see() -> None:
    sampler = Sampler(lambda: None)
    sampler.start()
    sampler._thread.join(30)
    assert not sampler.is_running and sampler.error is None


def test_a_failure_is_kept_and_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> Look:
        raise ZeroDivisionError("on the thread")

    sampler = Sampler(fail)
    sampler.start()
    sampler._thread.join(30)
    assert isinstance(sampler.error, ZeroDivisionError) and not sampler.is_running
    assert capfd.readouterr() == ("", "")


def test_it_may_stop_itself() -> None:
    def look() -> Look:
        sampler.stop()
        return QUICK

    sampler = Sampler(look)
    sampler.start()
    sampler._thread.join(30)
    assert not sampler.is_running and sampler.error is None


def thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "pagednb-monitor"]

"""Rates between looks, and what one look leaves to the next."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pagednb.monitoring.rates import MAX_SAMPLES, Rates


def status(time_s: float, tokens_in: int, tokens_out: int, *, hit: int = 0, asked: int = 0, steps: int = 0) -> Any:
    scheduler = SimpleNamespace(num_prefix_tokens_hit=hit, num_prefix_tokens_asked=asked)
    return SimpleNamespace(
        time_s=time_s,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        num_steps=steps,
        busy_s=0.004 * steps,
        scheduler=scheduler,
    )


def test_rates_are_of_the_last_second() -> None:
    rates = Rates()
    assert rates.add(status(10.0, 100, 50)) == (0.0, 0.0, None, None)
    sample = rates.add(status(10.5, 600, 60, hit=300, asked=400, steps=10))
    assert sample == (1000.0, 20.0, 0.75, pytest.approx(4.0))
    for tenth in range(1, 20):
        sample = rates.add(status(10.5 + tenth / 10, 600, 60 + 10 * tenth, hit=300, asked=400, steps=10 + tenth))
    assert sample.tokens_out_per_s == pytest.approx(100.0) and sample.tokens_in_per_s == 0.0
    assert sample.hit_rate is None and sample.step_ms == pytest.approx(4.0)


def test_an_engine_that_rests_has_no_rates_and_no_step_time() -> None:
    rates = Rates()
    for second in range(5):
        sample = rates.add(status(float(second), 100, 100, steps=7))
    assert sample == (0.0, 0.0, None, None)


def test_another_engine_begins_anew() -> None:
    rates = Rates()
    rates.add(status(1.0, 10_000, 10_000, steps=500))
    assert rates.add(status(2.0, 5, 5, steps=1)) == (0.0, 0.0, None, None)
    assert rates.add(status(3.0, 25, 5, steps=2)).tokens_in_per_s == 20.0


def test_the_history_is_bounded() -> None:
    rates = Rates()
    for second in range(3 * MAX_SAMPLES):
        rates.add(status(float(second), second, 0))
    assert len(rates.history) == MAX_SAMPLES

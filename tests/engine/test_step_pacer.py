"""The pacer against a simulated device: it must end where arithmetic says, and come back when things change."""

from __future__ import annotations

import pytest

from pagednb.engine.step_pacer import MAX_DECODE_STEPS, StepPacer, StepTiming


def decode(*, late: bool, steps: int = 1, seconds: float = 0.004, rows: int = 4, awaited: bool = True) -> StepTiming:
    return StepTiming(
        num_tokens=rows * steps,
        has_prefills=False,
        num_decode_steps=steps,
        device_s=seconds * steps,
        was_late=late,
        was_awaited=awaited,
    )


def run(pacer: StepPacer, *, host_s: float, device_s: float, num_steps: int) -> list[int]:
    """Simulate steps of ``device_s`` a token that each need ``host_s`` to launch; return the steps chosen."""
    chosen = []
    for _ in range(num_steps):
        steps = pacer.limits(has_interactive=False).max_decode_steps
        chosen.append(steps)
        pacer.record(decode(late=host_s > steps * device_s, steps=steps, seconds=device_s))
    return chosen


@pytest.mark.parametrize(("host_s", "expected"), [(0.0004, 1), (0.005, 2), (0.012, 4), (0.5, MAX_DECODE_STEPS)])
def test_takes_as_few_steps_as_keep_the_device_fed(host_s: float, expected: int) -> None:
    chosen = run(StepPacer(), host_s=host_s, device_s=0.004, num_steps=300)
    assert max(chosen) == chosen[20] == expected
    share = sum(steps == expected for steps in chosen) / len(chosen)
    assert share > 0.9


def test_comes_back_when_the_lock_is_free_again() -> None:
    pacer = StepPacer()
    assert run(pacer, host_s=0.03, device_s=0.004, num_steps=50)[-1] == 8
    assert run(pacer, host_s=0.0004, device_s=0.004, num_steps=1000)[-1] == 1


def test_one_late_launch_is_no_reason() -> None:
    pacer = StepPacer()
    for index in range(100):
        pacer.record(decode(late=index % 3 == 0))
    assert pacer.limits(has_interactive=False).max_decode_steps == 1


def test_prompts_do_not_count_as_late() -> None:
    pacer = StepPacer()
    for _ in range(10):
        pacer.record(StepTiming(num_tokens=600, has_prefills=True, num_decode_steps=1, device_s=0.02, was_late=True))
    assert pacer.limits(has_interactive=False).max_decode_steps == 1


@pytest.mark.parametrize("tokens_per_s", [3_000.0, 43_000.0, 600_000.0])
def test_a_watched_stream_bounds_the_step(tokens_per_s: float) -> None:
    pacer = StepPacer(target_step_s=0.025)
    assert pacer.limits(has_interactive=True).max_num_tokens == 512
    num_tokens = 8192
    for _ in range(30):
        seconds = num_tokens / tokens_per_s
        pacer.record(
            StepTiming(num_tokens=num_tokens, has_prefills=True, num_decode_steps=1, device_s=seconds, was_late=False)
        )
        budget = pacer.limits(has_interactive=True).max_num_tokens
        assert budget is not None and budget >= 128
        num_tokens = min(budget, 8192)
    assert max(0.025 * tokens_per_s * 0.99, 128) <= budget <= max(0.025 * tokens_per_s, 128)
    assert pacer.limits(has_interactive=False).max_num_tokens is None


@pytest.mark.parametrize(("target_s", "expected"), [(0.025, 128), (0.2, 8192)])
def test_where_every_step_takes_long_only_a_longer_target_makes_it_worth_it(target_s: float, expected: int) -> None:
    """Weights are copied for 0.1 s in each step, and 40,000 tokens a second are computed beside that."""
    pacer = StepPacer(target_step_s=target_s)
    for _ in range(60):
        num_tokens = min(pacer.limits(has_interactive=True).max_num_tokens or 0, 8192)
        seconds = max(0.1, num_tokens / 40_000)
        pacer.record(
            StepTiming(num_tokens=num_tokens, has_prefills=True, num_decode_steps=1, device_s=seconds, was_late=False)
        )
    assert num_tokens == pytest.approx(min(expected, 40_000 * target_s), rel=0.05)


def test_small_steps_do_not_spoil_the_measured_speed() -> None:
    pacer = StepPacer()
    pacer.record(StepTiming(num_tokens=8192, has_prefills=True, num_decode_steps=1, device_s=0.18, was_late=False))
    before = pacer.limits(has_interactive=True).max_num_tokens
    for _ in range(500):
        pacer.record(decode(late=False, rows=3))
    assert pacer.limits(has_interactive=True).max_num_tokens == before


def test_a_watched_stream_never_waits_for_many_slow_steps() -> None:
    pacer = StepPacer(target_step_s=0.025)
    run(pacer, host_s=0.5, device_s=0.001, num_steps=20)
    assert pacer.limits(has_interactive=True).max_decode_steps == 8
    pacer.record(decode(late=False, steps=8, seconds=0.008))
    assert pacer.limits(has_interactive=True).max_decode_steps == 4
    pacer.record(decode(late=False, steps=8, seconds=0.03))
    assert pacer.limits(has_interactive=True).max_decode_steps == 1
    assert pacer.limits(has_interactive=False).max_decode_steps == 8


def test_a_slow_host_is_not_taken_for_a_slow_device() -> None:
    """Another thread holds the interpreter lock: a launch takes 37 ms, a step 4. A stream needs eight at once."""
    pacer = StepPacer()
    pacer.record(decode(late=False))
    for _ in range(20):
        steps = pacer.limits(has_interactive=True).max_decode_steps
        seconds = max(0.037, steps * 0.004)
        pacer.record(decode(late=True, steps=steps, seconds=seconds / steps, awaited=False))
    assert pacer.limits(has_interactive=True).max_decode_steps == 8


def test_one_slow_step_does_not_cut_prompts_for_good() -> None:
    """Nobody but the watched chat is here: no step is larger than the budget, so small ones must mend the estimate."""
    pacer = StepPacer(target_step_s=0.025)
    pacer.record(StepTiming(num_tokens=600, has_prefills=True, num_decode_steps=1, device_s=3.0, was_late=False))
    for _ in range(30):
        budget = pacer.limits(has_interactive=True).max_num_tokens
        assert budget is not None
        seconds = 0.004 + budget / 60_000
        pacer.record(
            StepTiming(num_tokens=budget, has_prefills=True, num_decode_steps=1, device_s=seconds, was_late=False)
        )
    assert budget > 1000

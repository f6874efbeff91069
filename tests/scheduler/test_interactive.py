"""Requests whose stream somebody watches: served soon whatever else waits, and without starving the rest."""

from __future__ import annotations

import pytest
from support.traffic import Setting, Watcher, make_request

from pagednb.engine.core import EngineCore
from pagednb.scheduler.output import StepLimits

FLOOD = 5000


def watcher_with_flood(setting: Setting, *, num_prompt: int = 20, num_batch: int = FLOOD) -> Watcher:
    watcher = Watcher(setting)
    for request_id in range(num_batch):
        watcher.add(make_request(request_id, [1 + request_id % 30] * num_prompt, 12))
    for _ in range(5):
        watcher.step()
    return watcher


def steps_to_first_token(watcher: Watcher, request_id: int, *, at_most: int = 50) -> int:
    for step in range(1, at_most):
        if any(update.request_id == request_id for update in watcher.step()):
            return step
    raise AssertionError(f"no token in {at_most} steps")


@pytest.mark.parametrize(
    "setting",
    [
        Setting(num_blocks=400, max_num_seqs=32, max_num_batched_tokens=64, launch_ahead=1),
        Setting(num_blocks=30, max_num_seqs=32, max_num_batched_tokens=64, launch_ahead=1),
        Setting(num_blocks=400, max_num_seqs=3, max_num_batched_tokens=512),
    ],
    ids=["short of tokens", "short of blocks", "short of rows"],
)
def test_a_chat_behind_a_flood_gets_its_first_token_at_once(setting: Setting) -> None:
    watcher = watcher_with_flood(setting)
    num_finished = len(watcher.final)
    watcher.add(make_request(10**6, [3, 4, 5], 30, stream=True))
    assert watcher.core.scheduler.has_interactive
    assert steps_to_first_token(watcher, 10**6) <= 2
    while 10**6 not in watcher.final:
        watcher.step()
    assert not watcher.core.scheduler.has_interactive
    assert len(watcher.final) > num_finished + 1, "the flood stood still"


def test_a_long_prompt_half_computed_lets_a_chat_pass() -> None:
    watcher = Watcher(Setting(num_blocks=60, max_num_batched_tokens=16, max_num_seqs=4))
    watcher.add(make_request(1, list(range(1, 31)) * 5, 4))
    watcher.step()
    watcher.add(make_request(2, [7, 8], 4, stream=True))
    assert steps_to_first_token(watcher, 2) == 1
    watcher.finish()


def test_a_watched_request_never_gives_way_to_another() -> None:
    watcher = Watcher(Setting(num_blocks=12, max_num_seqs=2))
    for request_id in (1, 2):
        watcher.add(make_request(request_id, [request_id] * 8, 12, stream=True))
    watcher.step()
    watcher.add(make_request(3, [9], 4, stream=True))
    for _ in range(6):
        watcher.step()
    assert watcher.core.scheduler.stats().num_preemptions == 0
    watcher.finish()


def test_a_more_urgent_batch_is_not_pushed_out() -> None:
    watcher = Watcher(Setting(num_blocks=30, max_num_seqs=1))
    watcher.add(make_request(1, [1, 2], 10, priority=-1))
    watcher.step()
    watcher.add(make_request(2, [3], 2, stream=True))
    watcher.finish()
    assert watcher.order == [1, 2]


def num_prompt_tokens_planned(core: EngineCore, limits: StepLimits) -> int:
    plan = core.scheduler.schedule(limits)
    core.scheduler.update(plan, core.executor.execute(plan).result())
    return sum(len(chunk.token_ids) for chunk in plan.prefills)


def test_a_limit_bounds_prompts_but_never_stops_them() -> None:
    core = Setting(num_blocks=2000, block_size=16, max_num_seqs=200, max_num_batched_tokens=1024).build()
    for request_id in range(200):
        core.scheduler.add(make_request(request_id, [1 + request_id % 30] * 100, 50))
    assert num_prompt_tokens_planned(core, StepLimits()) == 1024
    assert num_prompt_tokens_planned(core, StepLimits(max_num_tokens=200)) == 200 - 10
    assert num_prompt_tokens_planned(core, StepLimits(max_num_tokens=1)) == 64
    core.scheduler.check_integrity()


def test_whoever_watches_is_forgotten_however_the_request_ends() -> None:
    scheduler = Setting().build().scheduler
    for request_id in range(3):
        scheduler.add(make_request(request_id, [1, 2], stream=True))
    scheduler.abort([0])
    scheduler.schedule()
    scheduler.finish_stopped(1)
    assert scheduler.has_interactive
    scheduler.reset()
    assert not scheduler.has_interactive


def test_watched_prompts_are_computed_in_order_of_arrival() -> None:
    """Prompts longer than a step's share: whoever has begun goes on before the next one comes in."""
    watcher = Watcher(Setting(num_blocks=2000, max_num_seqs=50, max_num_batched_tokens=150))
    for request_id in range(20):
        watcher.add(make_request(request_id, [1 + request_id] * 100, 30, stream=True))
    first_tokens: list[int] = []
    while len(first_tokens) < 20:
        news = {update.request_id for update in watcher.step()} - set(first_tokens)
        first_tokens += sorted(news)
        assert len(watcher.core.scheduler._books.rows.prefilling) <= 1
    assert first_tokens == sorted(first_tokens)


def test_nobody_is_pushed_out_when_that_would_not_help() -> None:
    watcher = Watcher(Setting(num_blocks=40, max_num_seqs=8, max_num_batched_tokens=200))
    watcher.add(make_request(1, [1] * 80, 30, stream=True))
    for request_id in (2, 3):
        watcher.add(make_request(request_id, [request_id] * 4, 40))
    for _ in range(3):
        watcher.step()
    watcher.add(make_request(4, [4] * 100, 8, stream=True))
    for _ in range(5):
        watcher.step()
    assert watcher.core.scheduler.stats().num_preemptions == 0
    watcher.finish()


def test_room_is_made_in_one_go() -> None:
    """Also where the decodes of the very step take blocks: else the newcomer waits and more are pushed out."""
    watcher = Watcher(Setting(num_blocks=65, max_num_seqs=64, max_num_batched_tokens=256, eos_token_ids=()))
    for request_id in range(20):
        watcher.add(make_request(request_id, [1 + request_id] * 7, 60))
    for _ in range(5):
        watcher.step()
    watcher.add(make_request(100, [9] * 20, 8, stream=True))
    assert steps_to_first_token(watcher, 100) == 1

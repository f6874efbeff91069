"""Which decoding rows a plan lets read their common prefix together, judged by the tables the executor was told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.fake_executor import FakeExecutor
from support.traffic import Setting, Traffic, Watcher, make_request

from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.output import SchedulerOutput

ENDLESS = SamplingParams(temperature=0.0, ignore_eos=True)
ROOMY = Setting(num_blocks=200, max_num_seqs=12, max_num_batched_tokens=512, min_shared_prefix_tokens=16)
PREFIX = list(range(1, 31))


class GroupChecker(FakeExecutor):
    """Remembers the groups of its plans, once each is checked."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.groups: list[np.ndarray | None] = []

    def execute(self, plan: SchedulerOutput):
        result = super().execute(plan)
        self.groups.append(plan.shared_prefix_lens)
        if plan.shared_prefix_lens is not None:
            self._check_group(plan.decode_rows, plan.shared_prefix_lens)
        return result

    def _check_group(self, rows: np.ndarray, lens: np.ndarray) -> None:
        assert lens.dtype == np.int32 and lens.shape == rows.shape and not lens.flags.writeable
        members = [self._rows[row] for row in rows[lens > 0].tolist()]
        (length,) = set(lens[lens > 0].tolist())
        assert len(members) > 1 and length % self._block_size == 0
        num_blocks = length // self._block_size
        assert all(member.table[:num_blocks] == members[0].table[:num_blocks] for member in members)
        assert all(member.num_written > length for member in members), "a prefix holds the token that is computed"


def make_watcher(setting: Setting = ROOMY) -> Watcher:
    watcher = Watcher(setting)
    watcher.core.executor = GroupChecker(setting.geometry)
    return watcher


def last_group(watcher: Watcher) -> list[int] | None:
    group = watcher.core.executor.groups[-1]
    return None if group is None else group.tolist()


def add(watcher: Watcher, request_id: int, prompt: list[int], max_tokens: int = 9) -> None:
    watcher.add(make_request(request_id, prompt, max_tokens, sampling_params=ENDLESS))


def test_rows_that_begin_alike_are_a_group_and_others_stay_outside():
    watcher = make_watcher()
    for request_id in range(3):
        add(watcher, request_id, [*PREFIX, request_id + 40])
    add(watcher, 3, [50, 51, 52])
    add(watcher, 4, [*PREFIX[:9], 60])  # begins like the group and goes its own way
    watcher.step()
    assert last_group(watcher) is None, "nobody decodes yet"
    watcher.step()
    assert last_group(watcher) == [28, 28, 28, 0, 0]
    watcher.finish()


def test_a_group_may_grow_shrink_and_end():
    watcher = make_watcher()
    for request_id, max_tokens in enumerate((20, 20, 3)):
        add(watcher, request_id, [*PREFIX, 70], max_tokens)
    sizes = []
    for step in range(12):
        if step == 6:
            add(watcher, 3, [*PREFIX, 70], 3)
        watcher.step()
        sizes.append(len(last_group(watcher) or ()))
    assert sizes == [0, 3, 3, 2, 2, 2, 2, 3, 3, 2, 2, 2]
    watcher.finish()


def test_a_steady_step_carries_the_same_group():
    watcher = make_watcher()
    for request_id in range(4):
        add(watcher, request_id, [*PREFIX, request_id + 40], 30)
    for _ in range(25):
        watcher.step()
    groups = watcher.core.executor.groups
    assert all(group is groups[1] for group in groups[1:])
    watcher.finish()


@pytest.mark.parametrize(("min_tokens", "expected"), [(56, [28, 28, 28]), (57, None), (None, None)])
def test_a_group_must_save_enough(min_tokens, expected):
    watcher = make_watcher(dataclasses.replace(ROOMY, min_shared_prefix_tokens=min_tokens))
    for request_id in range(3):
        add(watcher, request_id, [*PREFIX, request_id + 40])
    watcher.step()
    watcher.step()
    assert last_group(watcher) == expected
    watcher.finish()


@pytest.mark.parametrize("others", [3, 4])
def test_a_group_must_be_large_enough(others):
    watcher = make_watcher(dataclasses.replace(ROOMY, max_num_batched_tokens=1000))
    for request_id in range(3):
        add(watcher, request_id, [*PREFIX, request_id + 40])
    for request_id in range(3, 3 + others):
        add(watcher, request_id, [50 + request_id])
    watcher.step()
    watcher.step()
    assert (last_group(watcher) is None) == (others > 3)
    watcher.finish()


def test_without_prefix_caching_only_forks_share():
    watcher = make_watcher(dataclasses.replace(ROOMY, enable_prefix_caching=False))
    for request_id in range(3):
        add(watcher, request_id, PREFIX)
    for request_id in range(3, 6):
        watcher.add(make_request(request_id, PREFIX, 9, sampling_params=ENDLESS, parent_id=0))
    watcher.step()
    watcher.step()
    watcher.step()
    assert last_group(watcher) == [28, 0, 0, 28, 28, 28]
    watcher.finish()


TRAFFIC = {
    "roomy": dataclasses.replace(ROOMY, min_shared_prefix_tokens=4),
    "tiny pool, launch-ahead": Setting(num_blocks=16, launch_ahead=1, min_shared_prefix_tokens=4),
    "chunks of 7, launch-ahead": Setting(
        num_blocks=40, max_num_batched_tokens=7, launch_ahead=1, min_shared_prefix_tokens=4
    ),
    "three steps ahead": Setting(num_blocks=24, launch_ahead=3, min_shared_prefix_tokens=4),
}


@pytest.mark.parametrize("name", TRAFFIC)
def test_groups_of_random_traffic(name):
    groups = []
    for seed in range(4):
        traffic = Traffic(TRAFFIC[name], seed)
        traffic.watcher.core.executor = checker = GroupChecker(TRAFFIC[name].geometry)
        traffic.run(num_steps=150)
        groups += [group for group in checker.groups if group is not None]
    assert len(groups) > 20


def test_the_check_can_fail():
    watcher = make_watcher()
    for request_id in range(3):
        add(watcher, request_id, [*PREFIX, request_id + 40])
    watcher.step()
    watcher.step()
    checker = watcher.core.executor
    rows, lens = np.arange(3, dtype=np.int32), checker.groups[-1] + np.int32(4)
    lens.setflags(write=False)
    with pytest.raises(AssertionError):
        checker._check_group(rows, lens)

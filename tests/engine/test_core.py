"""One step and one step ahead, with scheduler and executor that only write down what happens."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from support.fixed_pace import FixedPace
from support.traffic import Setting, make_request

from pagednb.engine.core import EngineCore
from pagednb.engine.step_pacer import StepPacer
from pagednb.request import RequestUpdate
from pagednb.scheduler.output import RunnerOutput, SchedulerOutput, StepLimits


class Diary:
    """Scheduler and executor in one: ``num_plans`` plans of one row each, then empty ones."""

    def __init__(self, num_plans: int) -> None:
        self.events: list[str] = []
        self.num_left = num_plans
        self.num_planned = 0
        self.num_in_flight = 0

    @property
    def has_work(self) -> bool:
        return self.num_left > 0 or self.num_in_flight > 0

    def schedule(self, limits: StepLimits) -> SchedulerOutput:
        assert limits == StepLimits()
        if not self.num_left:
            return SchedulerOutput(step=0)
        self.num_left -= 1
        self.num_in_flight += 1
        self.num_planned += 1
        row = np.array([0], dtype=np.int32)
        return SchedulerOutput(step=self.num_planned, decode_rows=row, sampled_rows=row)

    def execute(self, plan: SchedulerOutput) -> Pending:
        self.events.append(f"execute {plan.step}")
        return Pending(self, plan.step)

    def update(self, plan: SchedulerOutput, output: RunnerOutput) -> list[RequestUpdate]:
        assert output.token_ids[0, 0] == plan.step
        self.num_in_flight -= 1
        self.events.append(f"update {plan.step}")
        return [RequestUpdate(request_id=plan.step)]

    def reset(self) -> None:
        self.events.append("reset")

    def shutdown(self) -> None:
        raise AssertionError("the core does not own its executor's life")


@dataclasses.dataclass(frozen=True)
class Pending:
    diary: Diary
    step: int
    is_ready: bool = False

    def result(self) -> RunnerOutput:
        self.diary.events.append(f"read {self.step}")
        return RunnerOutput(token_ids=np.array([[self.step]]))


def run(core: EngineCore) -> list[int]:
    ids = []
    while core.has_work:
        ids += [update.request_id for update in core.step()]
    return ids


@pytest.mark.parametrize(
    ("launch_ahead", "events"),
    [
        (0, "execute 1, read 1, update 1, execute 2, read 2, update 2, execute 3, read 3, update 3"),
        (1, "execute 1, execute 2, read 1, update 1, execute 3, read 2, update 2, read 3, update 3"),
    ],
)
def test_steps_are_read_in_order_and_none_is_left(launch_ahead: Any, events: str) -> None:
    diary = Diary(3)
    core = EngineCore(diary, diary, launch_ahead=launch_ahead)
    assert run(core) == [1, 2, 3]
    assert diary.events == events.split(", ")
    assert core.num_sampled_tokens == 3
    assert core.step() == []
    assert len(diary.events) == 9


def test_reset_forgets_what_was_launched() -> None:
    diary = Diary(2)
    core = EngineCore(diary, diary, launch_ahead=1)
    assert core.step() == []
    core.reset()
    diary.num_left = diary.num_in_flight = 0
    assert not core.has_work
    assert diary.events == ["execute 1", "reset", "reset"]


class Device:
    """An executor with a clock: a step of ``device_s`` begins when it is launched and the one before it is over."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, host_s: float, device_s: float, has_clock: bool = False
    ) -> None:
        self.now_s, self.free_s = 0.0, 0.0
        self._has_clock = has_clock
        self._host_s, self._device_s = host_s, device_s
        monkeypatch.setattr("pagednb.engine.core.time.perf_counter", lambda: self.now_s)

    def execute(self, plan: SchedulerOutput) -> DeviceStep:
        self.now_s += self._host_s
        last_end_s = self.free_s
        self.free_s = max(self.free_s, self.now_s) + self._device_s * plan.num_decode_steps
        since_last_s = self.free_s - last_end_s if self._has_clock else None
        return DeviceStep(self, len(plan.sampled_rows), plan.num_decode_steps, self.free_s, since_last_s)


@dataclasses.dataclass(frozen=True)
class DeviceStep:
    device: Device
    num_rows: int
    num_steps: int
    end_s: float
    since_last_s: float | None

    @property
    def is_ready(self) -> bool:
        return self.device.now_s >= self.end_s

    def result(self) -> RunnerOutput:
        self.device.now_s = max(self.device.now_s, self.end_s)
        token_ids = np.full((self.num_rows, self.num_steps), 7)
        return RunnerOutput(token_ids=token_ids, device_s=self.since_last_s)


def decoding_core(device: Device, pacer: FixedPace | StepPacer) -> EngineCore:
    scheduler = Setting(num_blocks=160, block_size=16, eos_token_ids=()).build().scheduler
    scheduler.add(make_request(1, [1, 2, 3], 157))
    return EngineCore(scheduler, device, launch_ahead=1, pacer=pacer)


def test_the_pacer_hears_how_long_steps_took_and_which_came_late(monkeypatch: pytest.MonkeyPatch) -> None:
    for host_s, is_late in ((0.5, False), (3.0, True)):
        pacer = FixedPace()
        core = decoding_core(Device(monkeypatch, host_s=host_s, device_s=2.0), pacer)
        for _ in range(10):
            core.step()
        first, *others = pacer.timings[1:]
        assert first.has_prefills is False and first.num_tokens == 1
        assert {timing.was_late for timing in others} == {is_late}
        # of a late step only an upper bound is known: its end is seen after the next one's launch
        assert {timing.was_awaited for timing in others} == {not is_late}
        assert all(timing.device_s == pytest.approx(max(host_s, 2.0)) for timing in others)


def test_the_devices_clock_is_believed_but_not_where_it_counts_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch that blocks sees ends too late: a host's clock alone would call one step slow and the next one fast."""
    device, pacer = Device(monkeypatch, host_s=3.0, device_s=2.0, has_clock=True), FixedPace()
    core = decoding_core(device, pacer)
    for _ in range(10):
        core.step()
    device.now_s += 100.0  # nobody asks for anything
    for _ in range(10):
        core.step()
    assert max(timing.device_s for timing in pacer.timings[1:]) <= 2.0 + 3.0 + 3.0
    busy = [timing.device_s for timing in pacer.timings[3:8]]
    assert busy == [pytest.approx(3.0)] * 5, "launched every 3 s, and the clock runs on meanwhile"


def test_steps_go_out_together_while_launching_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch of 9 ms against steps of 4: alone the device would idle more than half of the time."""
    device = Device(monkeypatch, host_s=9.0, device_s=4.0)
    core = decoding_core(device, StepPacer())
    updates = []
    while core.has_work:
        updates += core.step()
    assert len(updates[-1].output_token_ids) == 157
    assert device.now_s < 1.25 * 157 * 4.0

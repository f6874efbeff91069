"""One step and one step ahead, with scheduler and executor that only write down what happens."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pagednb.engine.core import EngineCore
from pagednb.request import RequestUpdate
from pagednb.scheduler.output import RunnerOutput, SchedulerOutput


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

    def schedule(self) -> SchedulerOutput:
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

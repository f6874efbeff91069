"""What the engine rig sleeps with: no device, a state, and a place where a test may make waking fail or take long."""

from __future__ import annotations

from collections.abc import Callable

from pagednb.errors import OptionError
from pagednb.sleep_state import SleepLevel, SleepState

KEPT_BYTES = 3 * 2**20


class RigSleeper:
    """Implements ``Sleeper``. ``while_waking`` gets the progress callback on the engine thread."""

    def __init__(self) -> None:
        self.state: SleepState | None = None
        self.num_wakes = 0
        self.is_forgotten = False
        self.sleep_fault: Exception | None = None
        self.while_waking: Callable[[Callable[[int, int], None]], None] = lambda progress: None

    def sleep(self, level: SleepLevel) -> None:
        if self.sleep_fault is not None:
            raise self.sleep_fault
        if self.state is not None and level < self.state.level:
            raise OptionError("deeper asleep")
        self.state = SleepState(level, host_bytes=KEPT_BYTES if level == 1 else 0)

    def wake_up(self, progress: Callable[[int, int], None]) -> None:
        if self.state is None:
            return
        self.while_waking(progress)
        progress(1, 1)
        self.state = None
        self.num_wakes += 1

    def forget(self) -> None:
        self.is_forgotten = True

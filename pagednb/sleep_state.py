"""How an engine sleeps: what runner, engine and surfaces tell each other of it."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, cast

from pagednb.checks import is_whole, plain_number, require

SleepLevel = Literal[1, 2]
"""1 keeps the weights in host memory, 2 reads them from the checkpoint again."""


@dataclasses.dataclass(frozen=True, slots=True)
class SleepState:
    """An engine that sleeps, at ``level``, with ``host_bytes`` of weights in host memory."""

    level: SleepLevel
    host_bytes: int


def sleep_level(level: Any) -> SleepLevel:
    """Return what a user gave as a level. Raises OptionError for anything but 1 and 2."""
    number = plain_number(level)
    require(is_whole(number) and number in (1, 2), "level", level, "1 (weights in host memory) or 2 (weights dropped)")
    return cast("SleepLevel", number)

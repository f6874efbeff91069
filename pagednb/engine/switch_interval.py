"""Shorter turns at the interpreter lock while an engine works.

A thread that computes in pure Python gives the lock away only after Python's switch interval, 5 ms. A step of the
engine takes the lock back after each of a dozen calls into torch, so one busy cell would slow a chat down tenfold. The
interval belongs to the whole process: it is shortened only while an engine has work, and put back afterwards unless
somebody else has set it meanwhile.
"""

from __future__ import annotations

import sys

from pagednb.engine.borrowed_setting import BorrowedSetting

SHORT_INTERVAL_S = 0.0001


class ShortTurns(BorrowedSetting[float]):
    """See the module; an interval that is shorter already stays."""

    def __init__(self) -> None:
        super().__init__(sys.getswitchinterval, sys.setswitchinterval, lambda usual: min(usual, SHORT_INTERVAL_S))


SHORT_TURNS = ShortTurns()
"""The process has one interval, so there is one keeper of it."""

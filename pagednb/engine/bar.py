"""A tqdm bar that a guest may use: it leaves no thread behind and nothing for the garbage collector.

tqdm is imported with the first bar. Loading, ``LLM.generate`` and the dataframe verbs show theirs with it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

MIN_INTERVAL_S = 0.1


class Bar:
    """Shown within a ``with`` block, redrawn ten times a second at most; ``options`` are tqdm's.

    An interrupt that arrives while the garbage collector runs Python code is printed and lost. So no bar, interrupted
    at whatever place and kept by a traceback for a while, may need a finaliser in Python. That rules out tqdm's
    widgets: they are built slowly, and each half-built part has one. Besides, a finished widget stays in memory for
    good, and saved notebooks show text everywhere.
    """

    def __init__(self, **options: Any) -> None:
        from tqdm import tqdm

        class QuietBar(tqdm):  # type: ignore[misc]
            monitor_interval = 0  # tqdm's monitor is a thread that outlives the bar
            __del__ = object.__hash__  # in C, and does nothing, in the place of tqdm's own in Python

        self._bar: Any = QuietBar(mininterval=MIN_INTERVAL_S, miniters=1, **options)

    def show(self, num_done: int, postfix: str = "") -> None:
        """Move the bar to ``num_done`` and put ``postfix`` behind it."""
        self._bar.set_postfix_str(postfix, refresh=False)
        self._bar.update(num_done - self._bar.n)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

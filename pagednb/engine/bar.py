"""A tqdm bar that a guest may use: it leaves no thread behind and nothing for the garbage collector.

tqdm is imported with the first bar. Loading, ``LLM.generate`` and the dataframe verbs show theirs with it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

MIN_INTERVAL_S = 0.1


class Bar:
    """Shown within a ``with`` block, redrawn ten times a second at most; ``options`` are tqdm's.

    tqdm's bars finalise themselves in Python code. An interrupt that arrives while the collector runs such code is
    printed and lost, so the bar is released here, at a known moment, even if a traceback still refers to this object.
    """

    def __init__(self, **options: Any) -> None:
        from tqdm.auto import tqdm

        class QuietBar(tqdm):  # type: ignore[misc]
            monitor_interval = 0  # tqdm's monitor is a thread that outlives the bar

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
        self._bar.disp = None  # the notebook's bar refers to itself here
        self._bar = None

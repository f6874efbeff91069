"""Shows a run over rows: a tqdm bar, the user's callable, or nothing; ten times a second at most.

``watch_with`` turns the ``progress=`` option into a ``Watch`` for the row job. tqdm is imported when a bar is shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

from pagednb import envs
from pagednb.dataframe.report import RunFigures
from pagednb.errors import OptionError

MIN_INTERVAL_S = 0.1
Watch = Callable[[RunFigures], None]
ProgressOption = bool | Callable[[RunFigures], object] | None


@contextlib.contextmanager
def watch_with(progress: ProgressOption, num_rows: int) -> Iterator[Watch]:
    """Yield what the job calls after each step of its work. None follows ``PAGEDNB_PROGRESS``.

    Raises:
        OptionError: ``progress`` is neither True, False, None nor callable.
    """
    if progress is None:
        progress = envs.show_progress()
    if callable(progress):
        yield _callable_watch(progress)
    elif progress is True:
        with _bar(num_rows) as bar:
            yield _throttled(bar)
    elif progress is False:
        yield _ignore
    else:
        raise OptionError(f"progress={progress!r} is not valid.", hint="Use True, False, None or a callable.")


def _ignore(figures: RunFigures) -> None:
    """Show nothing."""


def _callable_watch(report: Callable[[RunFigures], object]) -> Watch:
    """Hand the user copies: the job's own figures go on changing."""
    return _throttled(lambda figures: report(dataclasses.replace(figures)))


def _throttled(watch: Callable[[RunFigures], object]) -> Watch:
    """Pass on at most one call per interval, and always the one in which the last row is done."""
    last_s = time.perf_counter() - MIN_INTERVAL_S

    def watch_rarely(figures: RunFigures) -> None:
        nonlocal last_s
        now_s = time.perf_counter()
        if now_s - last_s >= MIN_INTERVAL_S or figures.rows_done == figures.rows:
            last_s = now_s
            watch(figures)

    return watch_rarely


@contextlib.contextmanager
def _bar(num_rows: int) -> Iterator[Watch]:
    from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # tqdm's monitor is a thread that outlives the bar; a guest leaves none behind

    layout = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows [{elapsed}{postfix}]"
    with Bar(total=num_rows, bar_format=layout, mininterval=0) as bar:

        def draw(figures: RunFigures) -> None:
            bar.n = figures.rows_done
            bar.set_postfix_str(_postfix(figures, bar), refresh=False)
            bar.refresh()

        yield draw


def _postfix(figures: RunFigures, bar: Any) -> str:
    eta_s = figures.eta_s
    parts = [f"{figures.tokens_per_s:,.0f} tok/s"]
    if figures.rows_done < figures.rows and eta_s is not None:
        parts.append(f"ETA {bar.format_interval(eta_s)}")
    if figures.failed:
        parts.append(f"{figures.failed} failed")
    return ", ".join(parts)

"""Shows a run over rows: a tqdm bar, the user's callable, or nothing; ten times a second at most.

``watch_with`` turns the ``progress=`` option into a ``Watch`` for the row job.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator

from pagednb import envs
from pagednb.dataframe.results.figures import RunFigures
from pagednb.engine.bar import MIN_INTERVAL_S, Bar
from pagednb.errors import OptionError

LAYOUT = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows [{elapsed}{postfix}]"
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
        with Bar(total=num_rows, bar_format=LAYOUT) as bar:
            yield lambda figures: bar.show(figures.rows_done, _postfix(figures))
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


def _postfix(figures: RunFigures) -> str:
    eta_s = figures.eta_s
    parts = [f"{figures.tokens_per_s:,.0f} tok/s"]
    if figures.rows_done < figures.rows and eta_s is not None:
        parts.append(f"ETA {_clock(eta_s)}")
    if figures.failed:
        parts.append(f"{figures.failed} failed")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"

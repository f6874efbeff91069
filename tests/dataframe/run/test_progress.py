"""Progress: seldom, complete at the end, and leaving nothing behind."""

from __future__ import annotations

import inspect
import threading

import pytest
import tqdm.std

from pagednb.dataframe.results.figures import RunFigures
from pagednb.dataframe.run.progress import watch_with
from pagednb.errors import OptionError


def figures(rows_done: int) -> RunFigures:
    return RunFigures(
        rows=100,
        computed=rows_done,
        finished=rows_done,
        rows_done=rows_done,
        submitted_tokens=10 * rows_done,
        prompt_tokens=10 * rows_done,
        output_tokens=2 * rows_done,
        seconds=rows_done / 10,
    )


def run(progress: object) -> None:
    with watch_with(progress, 100) as watch:  # type: ignore[arg-type]
        for rows_done in range(101):
            watch(figures(rows_done))


def test_a_callable_sees_copies_at_most_ten_times_a_second() -> None:
    seen: list[RunFigures] = []
    run(seen.append)
    assert seen[0].rows_done == 0
    assert seen[-1].rows_done == 100
    assert len(seen) < 20  # a hundred calls came within a moment


def test_the_bar_shows_rows_tokens_and_the_time_to_go(capsys: pytest.CaptureFixture[str]) -> None:
    threads_before = threading.enumerate()
    with watch_with(True, 100) as watch:
        watch(figures(50))
    shown = capsys.readouterr().err
    assert "50/100 rows" in shown
    assert "120 tok/s, ETA 00:05" in shown
    assert threading.enumerate() == threads_before


def test_the_bar_ends_complete(capsys: pytest.CaptureFixture[str]) -> None:
    run(True)
    last = capsys.readouterr().err.rstrip().split("\r")[-1]
    assert "100/100 rows" in last
    assert "ETA" not in last


def test_an_interrupted_bar_has_no_finaliser_in_python() -> None:
    """The garbage collector would run it during a later cell, where it could swallow the next interrupt."""
    bars: list[type] = []
    with pytest.raises(KeyboardInterrupt), watch_with(True, 100) as watch:
        watch(figures(50))
        bars += [type(bar) for bar in tqdm.std.tqdm._instances]
        raise KeyboardInterrupt
    assert len(bars) == 1
    assert inspect.isfunction(tqdm.std.tqdm.__del__)
    assert not inspect.isfunction(bars[0].__del__)  # type: ignore[attr-defined]
    assert not list(tqdm.std.tqdm._instances)


def test_the_environment_decides_when_the_caller_does_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGEDNB_PROGRESS", "0")
    run(None)
    assert capsys.readouterr().err == ""
    run(True)
    assert capsys.readouterr().err != ""
    monkeypatch.setenv("PAGEDNB_PROGRESS", "1")
    run(False)
    assert capsys.readouterr().err == ""
    run(None)
    assert capsys.readouterr().err != ""


def test_anything_else_is_refused() -> None:
    with pytest.raises(OptionError, match="progress='no'"):
        run("no")

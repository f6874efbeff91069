"""Checkpointed runs killed with SIGKILL: the same labels, and hardly any work done twice."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from support import killed_run

NUM_ROWS = 3200
"""A kill costs about four rows: two that the engine was at, and on average half a part of four. Twenty of them are
2.5 % of so many rows, which leaves room for a machine on which the thread that writes is kept waiting."""
NUM_KILLS = 20
MEMORY = pathlib.Path("/dev/shm")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


@pytest.fixture
def folder() -> Iterator[pathlib.Path]:
    """Yield a folder in memory where there is one.

    The engine goes on while a part is flushed. Parts of four rows come every 30 ms, and a busy disk takes as long to
    flush one: rows done meanwhile would count as lost, and the disk would be what is measured.
    """
    pytest.importorskip("pyarrow")
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as name:
        yield pathlib.Path(name)


def report_of(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, killed_run.__file__, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=True)
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def test_twenty_kills_change_no_label(folder: pathlib.Path) -> None:
    report = report_of("work", folder, NUM_ROWS, NUM_KILLS, 0)
    assert report["num_killed"] == NUM_KILLS
    assert report["num_labels"] == NUM_ROWS and report["num_distinct"] > 20
    assert report["are_equal"]
    assert report["tokens"] < report["tokens_with_kills"] <= 1.05 * report["tokens"]


def test_a_short_run_with_default_settings_goes_on_after_each_kill(folder: pathlib.Path) -> None:
    report = report_of("defaults", folder, 2000, 3)  # many more than three seconds of work
    assert report["num_killed"] == 3  # each after a second or so of work
    assert report["num_stored"] == report["resumed"] > 0
    assert report["are_equal"] and report["num_distinct"] > 1

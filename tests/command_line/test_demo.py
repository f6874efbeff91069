"""``pagednb demo`` as somebody's first command."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from pagednb.command_line.main import main


def test_the_demo_is_mostly_right() -> None:
    command = [sys.executable, "-m", "pagednb", "demo", "--rows", "40", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["ticket", "team", "sure"] and lines[12] == "... and 30 more"
    found = re.fullmatch(r"(\d+) of 40 right \((.*)%\), .* tickets a second", lines[-1])
    assert found and int(found[1]) >= 34 and float(found[2]) == pytest.approx(100 * int(found[1]) / 40)
    assert "40/40 rows" in done.stderr and max(map(len, lines)) <= 120


@pytest.mark.parametrize("rows", ["0", "501", "many"])
def test_mistakes_are_sentences(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--rows", rows]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1

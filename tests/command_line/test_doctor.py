"""``pagednb doctor`` on this machine, and on one where something is wrong."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from pagednb.command_line.main import main
from pagednb.doctor.finding import Finding
from pagednb.version import VERSION


def test_this_machine() -> None:
    command = [sys.executable, "-m", "pagednb", "doctor"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "0", "PAGEDNB_PROGRESS": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert f"pagednb {VERSION}, Python {platform.python_version()}" in done.stdout
    assert f"torch {torch.__version__}" in done.stdout and "the model inside answers on" in done.stdout
    assert done.stdout.endswith("All is well.\n")


def test_a_problem_comes_with_its_remedy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("pagednb.doctor.gpus.gpu_findings", lambda facts: [Finding("It is ill", "Do this.")])
    assert main(["doctor", "--skip-test"]) == 1
    shown = capsys.readouterr()
    assert "!!  It is ill\n      -> Do this.\n" in shown.out and "All is well" not in shown.out
    assert shown.err == "pagednb: 1 problem was found. What to do stands behind the arrows.\n"

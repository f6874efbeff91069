"""A checkpointed run killed with SIGKILL twenty times: the same labels, and hardly any work done twice."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest
from support import killed_run

NUM_ROWS = 2400
NUM_KILLS = 20


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_twenty_kills_change_no_label(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("pyarrow")
    command = [sys.executable, killed_run.__file__, str(tmp_path), str(NUM_ROWS), str(NUM_KILLS), "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["num_killed"] == NUM_KILLS
    assert report["num_labels"] == NUM_ROWS and report["num_distinct"] > 20
    assert report["are_equal"]
    assert report["tokens"] < report["tokens_with_kills"] <= 1.05 * report["tokens"]

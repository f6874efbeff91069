"""The table and the JSON of a report written by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from pagednb.benchmark.figures import Figures
from pagednb.benchmark.process_age import process_age_s
from pagednb.benchmark.report import Environment, Report, WorkloadResult

RESULTS = (
    WorkloadResult(
        name="label",
        runs={1: Figures(seconds=15.2, num_preemptions=0), 2: Figures(seconds=14.9, num_preemptions=1234)},
    ),
    WorkloadResult(name="single", runs={1: Figures(tpot_p50_ms=4.1, ttft_p50_ms=7.0)}),
    WorkloadResult(name="busy-kernel", runs={1: Figures(share_kept=0.7), 2: Figures(share_kept=0.65)}),
)


def make_report(**changes: object) -> Report:
    fields = {
        "model": "a model",
        "dtype": "bfloat16",
        "environment": Environment(device="a card", torch="2.11", triton=None, pagednb="0.1", python="3.12"),
        "options": {"max_num_seqs": 64},
        "seeds": (1, 2),
        "num_rows": None,
        "max_num_seqs": 64,
        "num_kv_tokens": 99_984,
        "load_s": 1.234,
        "ready_s": 2.5,
        "is_complete": True,
        "notes": ("A note.",),
        "workloads": RESULTS,
    }
    return Report(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_table_lines_up() -> None:
    head, _, table = str(make_report()).partition("\n\n")
    assert "a model, bfloat16, on a card; torch 2.11, pagednb 0.1" in head
    assert "Loaded in 1.23 s; first token 2.50 s after the process began." in head
    assert "64 sequences at once and 99,984 tokens" in head
    assert "max_num_seqs=64" in head and "A note." in head and "Not complete" not in head
    lines = [line.split("  ") for line in table.splitlines()]
    cells = {line[0]: [cell.strip() for cell in line[1:] if cell.strip()] for line in lines}
    assert cells[""] == ["label", "single", "busy-kernel"]
    assert cells["time (s)"] == ["14.90", "-", "-"]
    assert cells["preemptions"] == ["1,234", "-", "-"]
    assert cells["TPOT p50 (ms)"] == ["-", "4.10", "-"]
    assert cells["chat speed kept (%)"] == ["-", "-", "70.0"]
    assert cells["seed"] == ["2", "1", "1"]
    assert cells["other seeds"] == ["15.20 s", "-", "65.0 %"]
    assert "TTFT p99 (ms)" not in cells  # nobody has it
    assert len({len(line) for line in table.splitlines()}) == 1


def test_json_says_the_same() -> None:
    plain = json.loads(json.dumps(make_report().as_dict()))
    assert plain["device"] == "a card" and plain["options"] == {"max_num_seqs": 64} and plain["is_complete"] is True
    assert plain["workloads"]["label"] == {
        "seed": 2,
        "seconds": 14.9,
        "num_preemptions": 1234,
        "judged_by": "seconds",
        "other_seeds": {"1": 15.2},
    }
    assert plain["workloads"]["busy-kernel"]["seed"] == 1


def test_what_is_not_known_is_not_said() -> None:
    text = str(make_report(ready_s=None, options={}, is_complete=False))
    assert "first token" not in text and "Options" not in text and "Not complete" in text


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process began")
def test_the_age_of_a_process_is_what_its_parent_waited() -> None:
    code = (
        "import time; from pagednb.benchmark.process_age import process_age_s as age\n"
        "first = age(); time.sleep(0.3); print(first, age())"
    )
    start_s = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    waited_s = time.perf_counter() - start_s
    first, second = map(float, done.stdout.split())
    assert first >= 0 and second - first >= 0.28 and second <= waited_s + 0.02
    own = process_age_s()
    assert own is not None and own > waited_s

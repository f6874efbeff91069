"""``pagednb bench`` as its users run it: a process of its own, the embedded model, a few rows."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from support.tiny_models import tiny_model

from pagednb.benchmark import benchmark
from pagednb.benchmark.figures import Figures
from pagednb.benchmark.runs import RUNS, Run
from pagednb.command_line.main import main
from pagednb.errors import BenchmarkError

COMMAND = [sys.executable, "-m", "pagednb", "bench"]
CPU = ["--device", "cpu"]
QUIET = {**os.environ, "PAGEDNB_PROGRESS": "0"}


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words, *CPU], capture_output=True, text=True, check=False, timeout=300, env=QUIET)


def last_json(output: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def cells(output: str) -> Mapping[str, list[str]]:
    """The table: first column -> the other columns."""
    rows = (line.split("  ") for line in output.splitlines() if "  " in line)
    return {row[0]: [cell.strip() for cell in row[1:] if cell.strip()] for row in rows}


def test_a_batch_from_table_to_json(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "figures.json"
    done = bench("embedded", "label", "--rows", "5", "--seeds", "3", "4", "--json", str(path), "--max-num-seqs", "4")
    assert done.returncode == 0, done.stderr
    figures = last_json(done.stdout)
    assert json.loads(path.read_text()) == figures
    assert figures["command"] == "bench" and figures["model"] == "embedded" and figures["is_complete"]
    assert figures["options"] == {"device": "cpu", "max_num_seqs": 4}
    assert figures["max_num_seqs"] == 4 and figures["num_kv_tokens"] > 776
    assert figures["torch"] and figures["pagednb"] and figures["device"].startswith("CPU")
    label = figures["workloads"]["label"]
    assert label["num_requests"] == 5 and label["seed"] in (3, 4)
    ((other_seed, other_seconds),) = label["other_seeds"].items()
    assert {int(other_seed), label["seed"]} == {3, 4} and other_seconds >= label["seconds"]
    assert 0 < label["ttft_p50_ms"] <= label["ttft_p99_ms"] <= 1e3 * label["seconds"]
    assert 0 < label["tpot_p50_ms"] <= label["tpot_p99_ms"] <= 1e3 * label["seconds"]
    assert label["prefix_hit_rate"] > 0.5  # one instruction before all rows
    assert "host_ms_per_step" not in label
    table = cells(done.stdout)
    assert table["time (s)"] == [f"{label['seconds']:,.2f}"]
    assert table["requests"] == ["5"]
    assert "first 5 requests" in done.stdout and "below 4,096" in done.stdout
    assert "label, seed 3:" in done.stderr and "label, seed 4:" in done.stderr


@pytest.mark.slow
def test_single_and_the_chats() -> None:
    done = bench("embedded", "single", "chat-while-label", "--rows", "48", "--seeds", "1")
    assert done.returncode == 0, done.stderr
    workloads = last_json(done.stdout)["workloads"]
    single = workloads["single"]
    assert 256 <= single["num_steps"] * single["mean_decode_steps"] <= 264  # several may run in one go, some in vain
    assert workloads["chat-while-label"]["gap_p99_ms"] > 0
    assert cells(done.stdout)["chat (tok/s)"][0] == "-"


def test_a_folder_of_ones_own(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model("qwen3", tmp_path)
    assert main(["bench", str(tmp_path), "label", "nano", "--rows", "2", "--seeds", "1", *CPU]) == 2
    assert "'nano' needs room for 2,048 tokens" in capsys.readouterr().err
    assert main(["bench", str(tmp_path), "label", "--rows", "2", "--seeds", "1", *CPU]) == 0
    figures = last_json(capsys.readouterr().out)
    assert figures["workloads"]["label"]["num_requests"] == 2
    assert "below 131" in figures["notes"][0]


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["label"], 2, "pagednb bench embedded label"),
        (["embedded", "lable"], 2, "Did you mean 'label'?"),
        (["embedded", "label", "--seeds", "1", "1"], 2, "give different ones"),
        (["embedded", "label", "--rows", "0"], 2, "at least 1"),
        (["embedded", "label", "--max-num-seqs", "0"], 2, "max_num_seqs=0 is not valid"),
        (["embedded", "nano", "--max-model-len", "512", *CPU], 2, "'nano' needs room for 2,048 tokens"),
        (["embedded", "label", "--json", "/no/such/folder/figures.json"], 2, "no folder '/no/such/folder'"),
        (["./no-such-model", "label"], 1, "does not exist"),
    ],
)
def test_what_cannot_run_is_refused(
    words: list[str], status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words]) == status
    shown = capsys.readouterr()
    assert sentence in shown.err and not shown.out


def test_a_shape_has_random_weights_and_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {**benchmark.SHAPES["qwen3-0.6b"], "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    monkeypatch.setitem(benchmark.SHAPES, "qwen3-0.6b", small)  # type: ignore[attr-defined]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["bench", "qwen3-0.6b", "label", "--rows", "2", "--seeds", "1", *CPU]) == 0
    figures = last_json(capsys.readouterr().out)
    assert figures["model"] == "qwen3-0.6b (random weights)"
    assert figures["notes"] == ["Cut down: of each batch the first 2 requests at most."]
    assert not list(tmp_path.iterdir())


def test_a_failure_half_way_prints_what_was_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object) -> Figures:
        raise BenchmarkError("Request 3 returned 7 tokens instead of 8.")

    monkeypatch.setitem(RUNS, "nano", Run(fail, "seconds"))  # type: ignore[arg-type]
    assert main(["bench", "embedded", "label", "nano", "--rows", "2", "--seeds", "1", *CPU]) == 1
    shown = capsys.readouterr()
    figures = last_json(shown.out)
    assert not figures["is_complete"] and list(figures["workloads"]) == ["label"]
    assert "Not complete" in shown.out and "7 tokens instead of 8" in shown.err


def test_an_interrupt_prints_what_was_done() -> None:
    words = ["embedded", "label", "nano", "--rows", "20", "--seeds", "1", *CPU]
    with subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=QUIET
    ) as process:
        assert process.stderr is not None
        seen = ""
        while "label, seed 1:" not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and "interrupted" in errors
    figures = last_json(output)
    assert not figures["is_complete"] and list(figures["workloads"]) == ["label"]

"""``pagednb label`` as its users run it: files in, files out, read back by pandas alone."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from pagednb.command_line.main import main

COMMAND = [sys.executable, "-m", "pagednb", "label"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
TEAMS = "billing,technical,shipping,account,other"
TEXTS = {
    "T-001": ("Where is my parcel? It should have been here on Monday.", "shipping"),
    "NA": ("You charged my card twice for one invoice, please refund it.", "billing"),
    "007": ("The app crashes whenever I open the settings, since the last update.", "technical"),
    "T-004": ("", None),
    "T-005": ("I forgot my password and cannot sign in to my account.", "account"),
}


@pytest.fixture
def table(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "tickets.csv"
    lines = ["id,text,note", *(f'{name},"{text}","a ""quoted"", note"' for name, (text, _) in TEXTS.items())]
    path.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")  # as spreadsheets write it
    return path


def label(*words: object, **changed: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, words), "--device", "cpu"]
    environment = {**ENVIRONMENT, **changed}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


def check_labels(frame: pd.DataFrame, into: str) -> None:
    expected = [team for _, team in TEXTS.values()]
    assert [None if pd.isna(value) else str(value) for value in frame[into]] == expected


def test_csv_in_parquet_out(table: pathlib.Path, tmp_path: pathlib.Path) -> None:
    before, output = table.read_bytes(), tmp_path / "labelled.parquet"
    done = label(table, "--column", "text", "--choices", TEAMS, "--into", "team", "--confidence", "-o", output)
    assert done.returncode == 0, done.stderr
    frame = pd.read_parquet(output)
    check_labels(frame, "team")
    assert frame["id"].tolist() == list(TEXTS), "cells of text files stay text"
    assert set(frame["note"]) == {'a "quoted", note'}
    assert list(frame.columns) == ["id", "text", "note", "team", "team_confidence"]
    confident = frame["team_confidence"].dropna()
    assert len(confident) == 4 and confident.between(0.2, 1.0).all()
    assert table.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labelled.parquet", "tickets.csv"]
    assert done.stdout.splitlines()[0].split() == ["team", "rows", "share"]
    assert ["shipping", "1", "20.0%"] in [line.split() for line in done.stdout.splitlines()]
    assert "5/5 rows" in done.stderr and "1 rows have nothing to be labelled" in done.stderr


@pytest.mark.parametrize(("first", "second"), [("a.jsonl", "b.tsv"), ("a.parquet", "b.ndjson"), ("a.tsv", "b.csv")])
def test_formats_round_trip(first: str, second: str, table: pathlib.Path, tmp_path: pathlib.Path) -> None:
    options = ["--choices", TEAMS, "--device", "cpu"]
    assert main(["label", str(table), "--column", "text", "-o", str(tmp_path / first), *options]) == 0
    prompt = r"Ticket {id}: {text}\nWhich team?"
    words = [str(tmp_path / first), "--prompt", prompt, "--into", "again", "-o", str(tmp_path / second), *options]
    assert main(["label", *words]) == 0
    frame = read(tmp_path / second)
    check_labels(frame, "label")
    check_labels(frame, "again")
    assert frame["id"].tolist() == list(TEXTS) and pd.isna(frame["text"][3])


def read(path: pathlib.Path) -> pd.DataFrame:
    if path.suffix == ".ndjson":
        return pd.DataFrame([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
    separator = "\t" if path.suffix == ".tsv" else ","
    return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, na_values=[""])


def test_json_values_stay_what_they_are(tmp_path: pathlib.Path) -> None:
    rows = [
        {
            "text": "Where is my parcel?",
            "number": 12345678901234567,
            "list": [1, {"a": None}],
            "share": 0.1234567890123,
        },
        {"text": "Refund my invoice.", "yes": True, "when": "2026-01-01"},
    ]
    (tmp_path / "in.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    words = ["--column", "text", "--choices", '"shipping, parcels",billing', "--device", "cpu"]
    assert main(["label", str(tmp_path / "in.jsonl"), *words, "-o", str(tmp_path / "out.jsonl")]) == 0
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row.pop("label") for row in out] == ["shipping, parcels", "billing"]
    assert [{name: value for name, value in row.items() if value is not None} for row in out] == rows


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--column", "txt"], "has no column 'txt'. Did you mean 'text'?"),
        ([], "What is to be labelled? Give --column, one of: id, text, note."),
        (["--prompt", "{body}"], "there is no 'body'"),
        (["--prompt", "{text}", "--column", "id"], "does not use the column 'id'"),
        (["--column", "text", "--into", "note"], "has a column 'note' already"),
        (["--column", "text", "-o", "tickets.csv"], "The output is the input itself"),
        (["--column", "text", "-o", "link.csv"], "The output is the input itself"),
        (["--column", "text", "-o", "there.csv"], "is there already. --overwrite replaces it"),
        (["--column", "text", "-o", "out.xlsx"], "cannot be told from its name"),
        (["--column", "text", "-o", "out.json"], "Did you mean .jsonl?"),
        (["--column", "text", "-o", "none/out.csv"], "There is no folder"),
        (["--column", "text", "--choices", "one"], "at least 2"),
        (["--column", "text", "--choices", "a,,b"], "blank"),
        (["--column", "text", "--max-model-len", "0"], "max_model_len=0"),
    ],
)
def test_mistakes_are_sentences_and_write_nothing(
    words: list[str],
    sentence: str,
    table: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAGEDNB_PROGRESS", "0")
    (tmp_path / "there.csv").write_text("kept")
    (tmp_path / "link.csv").symlink_to(table)
    before = sorted(tmp_path.iterdir()), table.read_bytes()
    given = [] if "-o" in words else ["-o", "out.csv"]
    given += [] if "--choices" in words else ["--choices", "a,b"]
    assert main(["label", "tickets.csv", *words, *given, "--device", "cpu"]) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err and len(shown.err.splitlines()) == 1 and not shown.out
    assert (sorted(tmp_path.iterdir()), table.read_bytes()) == before
    assert (tmp_path / "there.csv").read_text() == "kept"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("in.csv", b"", "is empty"),
        ("in.csv", b"a,a\n1,2\n", "several columns 'a'"),
        ("in.csv", b"a,b\n1,2,3\n", "more cells than columns"),
        ("in.csv", b"a,b\n1,2\n1,2,3\n", "cannot be read: Expected 2 fields in line 3, saw 3."),
        ("in.csv", b"a,b\n\xff,2\n", "is not UTF-8"),
        ("in.csv", b'a,b\n"1,2\n', "cannot be read"),
        ("in.jsonl", b'{"a": 1}\n{"a": \n', "Line 2 of"),
        ("in.jsonl", b"[1]\n", "not a JSON object"),
        ("in.jsonl", b"\n", "has no columns"),
        ("in.parquet", b"PAR1 and nothing", "cannot be read"),
    ],
)
def test_broken_inputs_are_named(
    name: str, content: bytes, sentence: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    words = ["--column", "a", "--choices", "a,b", "-o", str(tmp_path / "out.csv")]
    assert main(["label", str(tmp_path / name), *words]) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err and "Traceback" not in shown.err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path: pathlib.Path) -> None:
    texts = [f"Where is parcel {number}?" for number in range(20_000)]
    source, output, folder = tmp_path / "many.csv", tmp_path / "out.csv", tmp_path / "checkpoint"
    pd.DataFrame({"text": texts}).to_csv(source, index=False)
    words = ["--column", "text", "--choices", "shipping,billing", "-o", output, "--checkpoint", folder]
    command = [*COMMAND, source, *words, "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        deadline_s = time.monotonic() + 100
        while not list(folder.glob("part-*.parquet")):
            assert time.monotonic() < deadline_s and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert not output.exists()
    kept = pd.read_parquet(min(folder.glob("part-*.parquet")))["position"].tolist()
    chosen = [*kept[:30], *sorted(set(range(20_000)) - set(range(20_000)).intersection(kept))[-5:]]
    pd.DataFrame({"text": [texts[position] for position in chosen]}).to_csv(source, index=False)
    done = label(source, *words)
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(output)["text"].tolist() == [texts[position] for position in chosen]
    assert "35 rows in" in done.stderr and "30 of them from the checkpoint" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_writes_nothing_and_says_so(tmp_path: pathlib.Path) -> None:
    source, output = tmp_path / "many.csv", tmp_path / "out.csv"
    pd.DataFrame({"text": [f"Where is parcel {number}?" for number in range(20_000)]}).to_csv(source, index=False)
    command = [*COMMAND, source, "--column", "text", "--choices", "a,b", "-o", output, "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stderr is not None
        seen = b""
        while b"/20000 rows" not in seen:
            seen += (piece := os.read(process.stderr.fileno(), 1000))
            assert piece, seen
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert b"nothing was written" in errors and b"interrupted" in errors and b"Traceback" not in errors
    assert not output.exists()

"""LOTUS, a library of dataframe operators, labels a frame through the server (``make test-clients``)."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import subprocess

import httpx
from support.served import start

from pagednb.embedded_model import tickets_path
from pagednb.llm import LLM

HERE = pathlib.Path(__file__).parent
PYTHON = HERE.parent.parent / ".cache/clients/lotus/bin/python"
NUM_ROWS = 40
OFFLINE = {"HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def test_a_frame_is_labelled(tmp_path: pathlib.Path) -> None:
    with pathlib.Path(tickets_path()).open(newline="") as file:
        rows = list(csv.DictReader(file))[:NUM_ROWS]
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps([row["text"] for row in rows]))
    with LLM(device="cpu", num_gpu_blocks_override=2000) as llm:
        server = start(llm.engine)
        command = [str(PYTHON), str(HERE / "lotus_labels.py"), server.url, str(texts)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **OFFLINE}, check=False)
        figures = httpx.get(f"{server.url}/metrics").text
        server.stop()
        assert done.returncode == 0, done.stderr[-2000:]
        llm.engine.check_integrity()
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told["teams"]) == NUM_ROWS and 0 <= told["kept"] <= NUM_ROWS
    num_right = sum(told == row["team"] for told, row in zip(told["teams"], rows, strict=True))
    assert num_right >= 0.8 * NUM_ROWS
    assert sum(_finished(figures)) == 2 * NUM_ROWS


def _finished(figures: str) -> list[float]:
    lines = [line for line in figures.splitlines() if line.startswith("vllm:request_success_total{")]
    return [float(line.rsplit(" ", 1)[1]) for line in lines]

"""``pagednb models``: what lies in the hub's cache or in a folder, without torch and without a network."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from pagednb.command_line.main import main


def make_model(folder: pathlib.Path, architecture: str, num_bytes: int) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    (folder / "model.safetensors").write_bytes(b"\0" * num_bytes)


def test_the_cache_is_listed_without_torch(tmp_path: pathlib.Path) -> None:
    make_model(tmp_path / "hub/models--some--Model-1B/snapshots/abc", "OPTForCausalLM", 20_000_000)
    (tmp_path / "hub/models--some--empty/snapshots/abc").mkdir(parents=True)
    code = (
        "import sys; from pagednb.command_line.main import main\n"
        "assert main(['models']) == 0 and 'torch' not in sys.modules"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["model", "architecture", "size"]
    assert ["some/Model-1B", "OPTForCausalLM", "0.02", "GB"] in lines
    assert lines[2][:2] == ["pagednb/embedded", "LlamaForCausalLM"] and len(lines) == 4
    assert not done.stderr


def test_models_of_a_folder(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_model(tmp_path / "deep/down/mine", "Qwen3ForCausalLM", 10)
    make_model(tmp_path / ".hidden/other", "Qwen3ForCausalLM", 10)
    (tmp_path / "deep/config.json").write_text("{}")  # without weights
    assert main(["models", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 3 and str(tmp_path / "deep/down/mine") in shown


@pytest.mark.parametrize(("word", "sentence"), [("none", "There is no folder"), (".", "holds no model")])
def test_mistakes_are_sentences(
    word: str, sentence: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", str(tmp_path / word)]) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err and not shown.out

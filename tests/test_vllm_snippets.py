"""The snippets of ``docs/vllm.md``, as they stand there, on the embedded model and in the shape of OPT-125m."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from support.tiny_models import tiny_byte_model

import pagednb

PAGE = (pathlib.Path(__file__).resolve().parent.parent / "docs" / "vllm.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
CURL = re.search(r"^```bash\n(curl.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
MODEL = '"facebook/opt-125m"'
# facebook/opt-125m, but for the vocabulary: its tokenizer is not at hand
OPT_125M = {"hidden_size": 768, "ffn_dim": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}


@pytest.fixture(scope="module", params=["embedded", "opt-125m"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What stands in a snippet in the place of the model's name."""
    if request.param == "embedded":
        return "None"
    folder = tmp_path_factory.mktemp("opt-125m")
    return repr(str(tiny_byte_model(folder, architecture="opt", max_position_embeddings=2048, gain=1.0, **OPT_125M)))


@pytest.fixture(autouse=True)
def nothing_stays_loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PAGEDNB_PROGRESS", "0")
    yield
    pagednb.unload()


@pytest.mark.parametrize("name", SNIPPETS)
def test_runs_with_the_import_changed(name: str, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert MODEL in SNIPPETS[name]
    namespace: dict[str, Any] = {"__name__": "snippet"}
    try:
        exec(compile(SNIPPETS[name].replace(MODEL, model), f"docs/vllm.md: {name}", "exec"), namespace)
    finally:
        if "llm" in namespace:
            namespace["llm"].shutdown()
    assert capsys.readouterr().out.strip()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_is_answered(model: str) -> None:
    assert CURL is not None
    pagednb.load(None if model == "None" else model.strip("'"))
    with_port = CURL.group(1).replace("http://localhost:8000", pagednb.serve().url)
    answer = subprocess.run(["bash", "-c", with_port], capture_output=True, text=True, timeout=60, check=True).stdout
    assert json.loads(answer)["choices"][0]["text"] is not None


def test_the_table_names_every_section() -> None:
    named = re.findall(r"^\| \[([^\]]+)\]\(#([^)]+)\)", PAGE, re.MULTILINE)
    assert [title for title, _ in named] == [*SNIPPETS, "curl"]
    for title, anchor in named:
        assert anchor == re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")

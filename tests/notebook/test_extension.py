"""%load_ext and %unload_ext: what comes goes again, what was there before comes back."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pandas as pd
import pytest
from support.shell import RaisingShell, raising_shell

from pagednb import runtime
from pagednb.notebook.extension import load_ipython_extension, unload_ipython_extension

MAGICS = {"line": {"llm", "generate"}, "cell": {"generate"}}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(runtime, "unload", lambda: None)
    with raising_shell() as shell:
        yield shell
        unload_ipython_extension(shell.shell)


def magics_of(shell: RaisingShell) -> dict[str, set[str]]:
    return {kind: set(functions) for kind, functions in shell.shell.magics_manager.magics.items()}


def test_everything_comes_and_goes(bare: RaisingShell) -> None:
    before, hooks = magics_of(bare), len(bare.shell.events.callbacks["pre_run_cell"])
    bare.run("%load_ext pagednb")
    added = {kind: names - before[kind] for kind, names in magics_of(bare).items()}
    assert added == MAGICS
    assert hasattr(pd.DataFrame, "llm") and hasattr(pd.Series, "llm")
    bare.run("%unload_ext pagednb")
    assert magics_of(bare) == before
    assert not hasattr(pd.DataFrame, "llm") and not hasattr(pd.Series, "llm")
    assert "PagednbMagics" not in bare.shell.magics_manager.registry
    assert len(bare.shell.events.callbacks["pre_run_cell"]) == hooks


def test_unload_ext_unloads_the_engine(bare: RaisingShell, monkeypatch: pytest.MonkeyPatch) -> None:
    unloaded: list[bool] = []
    monkeypatch.setattr(runtime, "unload", lambda: unloaded.append(True))
    bare.run("%load_ext pagednb")
    bare.run("%unload_ext pagednb")
    assert unloaded == [True]


def test_magics_of_others_come_back_however_often_it_is_loaded(bare: RaisingShell) -> None:
    def theirs(line: str) -> str:
        return f"theirs {line}"

    bare.shell.register_magic_function(theirs, "line", "llm")
    load_ipython_extension(bare.shell)
    load_ipython_extension(bare.shell)
    unload_ipython_extension(bare.shell)
    assert bare.run("%llm hi") == "theirs hi"
    assert "generate" not in magics_of(bare)["line"]
    unload_ipython_extension(bare.shell)
    assert bare.run("%llm hi") == "theirs hi"


def test_magics_that_others_registered_later_stay(bare: RaisingShell) -> None:
    load_ipython_extension(bare.shell)
    bare.shell.register_magic_function(lambda line: "later", "line", "llm")
    unload_ipython_extension(bare.shell)
    assert bare.run("%llm") == "later"


def test_loading_needs_neither_torch_nor_a_device() -> None:
    code = (
        "import json, sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "from traitlets.config import Config\n"
        "config = Config(); config.HistoryManager.enabled = False\n"
        "shell = InteractiveShell.instance(config=config)\n"
        "shell.run_cell('%load_ext pagednb').raise_error()\n"
        "shell.run_cell('%unload_ext pagednb').raise_error()\n"
        "json.dump([name for name in ('torch', 'triton', 'transformers') if name in sys.modules], sys.stdout)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []

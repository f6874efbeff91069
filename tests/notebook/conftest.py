"""A real shell with the extension loaded, and a scripted engine in the place of the loaded one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.scripted_engine import ScriptedEngine
from support.shell import RaisingShell, raising_shell

from pagednb import runtime


@pytest.fixture
def shell() -> Iterator[RaisingShell]:
    with raising_shell() as shell:
        shell.run("%load_ext pagednb")
        yield shell
        shell.run("%unload_ext pagednb")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    engine = ScriptedEngine()
    monkeypatch.setattr(runtime, "get_engine", lambda: engine)
    return engine

"""A real shell with the extension loaded, a scripted engine in the place of the loaded one, and real kernels."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
from support.kernel import RealKernel, real_kernel
from support.scripted_engine import ScriptedEngine
from support.shell import RaisingShell, raising_shell
from support.tiny_models import tiny_model

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


@pytest.fixture(scope="session")
def endless_model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A tiny model that never ends a text by itself."""
    return tiny_model("llama3.2", tmp_path_factory.mktemp("model"), tokenizer=True, eos_token_id=None)


@pytest.fixture(scope="session")
def shared_kernel() -> Iterator[RealKernel]:
    with real_kernel() as kernel:
        yield kernel


@pytest.fixture
def kernel(shared_kernel: RealKernel, endless_model: pathlib.Path) -> RealKernel:
    """The one kernel that all tests share, with the extension and the tiny model loaded."""
    shared_kernel.run(f"%load_ext pagednb\n%llm load '{endless_model}' --device cpu --dtype float32 --max-num-seqs 16")
    return shared_kernel

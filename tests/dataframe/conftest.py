"""A fake engine in the place of the loaded one."""

from __future__ import annotations

import pytest
from support.fake_engine import FakeEngine

from pagednb import runtime


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    engine = FakeEngine()
    monkeypatch.setattr(runtime._RUNTIME, "name_to_kept", {})  # no answers of other tests
    monkeypatch.setattr(runtime, "get_engine", lambda: engine)
    monkeypatch.setenv("PAGEDNB_PROGRESS", "0")
    return engine

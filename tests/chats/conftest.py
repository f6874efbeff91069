"""A scripted engine in the place of the loaded one."""

from __future__ import annotations

import pytest
from support.streaming_engine import StreamingEngine

from pagednb import runtime


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> StreamingEngine:
    engine = StreamingEngine()
    monkeypatch.setattr(runtime, "get_engine", lambda: engine)
    return engine

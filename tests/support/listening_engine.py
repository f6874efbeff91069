"""A fake engine whose answers say which rows it read, and rows for it."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest
from support.fake_engine import FakeEngine

from pagednb import runtime

HEAD, TAIL = "List these: ", " Be exact."
TEMPLATE = HEAD + "{text}" + TAIL


def numbers_in(prompt: str) -> str:
    """An answer that names all rows that its prompt is about, as ranges such as <3> or <5-9>."""
    numbers = sorted(
        number
        for first, last in re.findall(r"<(\d+)(?:-(\d+))?>", prompt)
        for number in range(int(first), int(last or first) + 1)
    )
    assert len(set(numbers)) == len(numbers), f"read twice: {prompt}"
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return "".join(f"<{a}-{b}>" if a < b else f"<{a}>" for a, b in ranges)


class ListeningEngine(FakeEngine):
    """Answers with the rows it was asked about, and keeps the prompts of each round."""

    def __init__(self, **options: Any) -> None:
        super().__init__(answer=self._listen, **options)
        self.think = numbers_in
        self.rounds: dict[int, list[str]] = {}

    def _listen(self, prompt: str) -> str:
        self.rounds.setdefault(len(self.calls) - 1, []).append(prompt)
        return self.think(prompt)


def use_fake(monkeypatch: pytest.MonkeyPatch, **options: Any) -> ListeningEngine:
    """Put a new one in the place of the loaded engine, with no answers of other tests."""
    engine = ListeningEngine(**options)
    monkeypatch.setattr(runtime._RUNTIME, "name_to_kept", {})
    monkeypatch.setattr(runtime, "get_engine", lambda: engine)
    monkeypatch.setenv("PAGEDNB_PROGRESS", "0")
    return engine


def rows(num_rows: int, padding: int = 0) -> pd.DataFrame:
    """Rows <0>, <1> and so on, of three teams in turn; all have one index label."""
    texts = [f"<{number}>" + "." * padding for number in range(num_rows)]
    return pd.DataFrame({"text": texts, "team": [f"t{number % 3}" for number in range(num_rows)]}, index=[7] * num_rows)


def prompts_of(engine: ListeningEngine) -> list[list[str]]:
    """The prompts of each round."""
    return [engine.rounds.get(number, []) for number in range(len(engine.calls))]

"""Columns that a run replaces, those that it must leave alone, and what it says about them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from support.fake_engine import FakeEngine

from pagednb.dataframe.accessor import frame
from pagednb.errors import OptionError, RowErrorsWarning

LABELS = {"labels": ["a", "b"]}


@pytest.mark.parametrize(
    ("verb", "column", "options"),
    [
        ("generate", "note_error", {}),
        ("generate", "note_logprob", {"logprobs": True}),
        ("classify", "note_error", LABELS),
        ("classify", "note_confidence", LABELS),
        ("classify", "note_probs", {**LABELS, "probs": True}),
        ("filter", "note_confidence", {"confidence": True}),
        ("score", "note_probs", {"scale": (1, 3), "probs": True}),
        ("extract", "note_error", {"schema": {"a": str}}),
    ],
)
def test_columns_of_the_caller_are_not_lost(
    verb: str, column: str, options: dict[str, Any], engine: FakeEngine
) -> None:
    data = pd.DataFrame({"text": ["a", "b"], column: ["mine", None]})
    with pytest.raises(OptionError, match=f"a column '{column}', which would be lost"):
        getattr(frame(data), verb)("text", into="note", **options)
    assert engine.calls == []


def test_columns_that_the_verb_does_not_write_stay(engine: FakeEngine) -> None:
    data = pd.DataFrame({"text": ["a"], "note_confidence": ["mine"], "note_probs": ["mine"]})
    assert frame(data).generate("text", into="note")["note_confidence"].tolist() == ["mine"]
    assert frame(data[["text", "note_probs"]]).classify("text", into="note", **LABELS)["note_probs"].tolist() == [
        "mine"
    ]


def test_the_same_cell_again_replaces_what_it_made(engine: FakeEngine) -> None:
    engine.resolved.max_model_len = engine.geometry.max_model_len = 200
    data = pd.DataFrame({"text": ["a", "x" * 300]})
    for _ in range(2):
        with pytest.warns(RowErrorsWarning):
            data = frame(data).classify("text", **LABELS)
    assert data.columns.tolist() == ["text", "label", "label_confidence", "label_error"]
    data.attrs.clear()  # as after a CSV file
    with pytest.warns(RowErrorsWarning):
        frame(data).classify("text", **LABELS)
    with pytest.warns(RowErrorsWarning):
        data = frame(data).classify("text", **LABELS)
    with pytest.warns(RowErrorsWarning):
        frame(data.drop(columns="label")).classify("text", **LABELS)


def test_extract_again_on_its_own_result(engine: FakeEngine) -> None:
    engine.answer = lambda prompt: '{"a":"x"}'
    data = frame(pd.DataFrame({"text": ["t"]})).extract("text", schema={"a": str})
    again = frame(data).extract("text", schema={"a": str})
    assert again.columns.tolist() == ["text", "a"]
    with pytest.raises(OptionError, match="has a column 'a' already"):
        frame(data).extract("text", schema={"a": str | None})
    with pytest.raises(OptionError, match="has a column 'a' already"):
        frame(pd.DataFrame({"text": ["t"], "a": ["mine"]})).extract("text", schema={"a": str})


def test_reasons_of_another_extract_are_not_lost(engine: FakeEngine) -> None:
    engine.answer = lambda prompt: '{"a":"x"}' if prompt.endswith("good") else "cut"
    with pytest.warns(RowErrorsWarning):
        data = frame(pd.DataFrame({"text": ["good", "bad"]})).extract("text", schema={"a": str})
    with pytest.raises(OptionError, match="a column 'extracted_error', which"):
        frame(data).extract("text", schema={"b": str})
    with pytest.warns(RowErrorsWarning):
        both = frame(data).extract("text", schema={"b": str}, into="second")
    assert both["extracted_error"].notna().tolist() == [False, True]

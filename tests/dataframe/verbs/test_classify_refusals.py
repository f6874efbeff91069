"""What ``classify`` refuses, before any work where it can be known."""

from __future__ import annotations

import enum
from typing import Any, Literal

import pandas as pd
import pytest
from support.fake_engine import FakeEngine
from support.tickets import LABELS, TICKETS

from pagednb.dataframe.accessor import frame
from pagednb.errors import NotSupportedYetError, OptionError, TemplateError

Team = enum.Enum("Team", {"a": "it support", "b": "sales"})


def test_labels_that_no_token_tells_apart_are_named(engine: FakeEngine) -> None:
    encode = engine.encode
    engine.encode = lambda texts, **options: encode([text.lower() for text in texts], **options)  # type: ignore[method-assign]
    with pytest.raises(OptionError, match="The labels 'tech' and 'Tech' are the same tokens"):
        frame(TICKETS).classify("text", labels=["tech", "other", "Tech"])
    with pytest.raises(OptionError, match="goes on with the end token"):
        frame(TICKETS).classify("text", labels=["a", "a\0", "b"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "labels=None"),
        ({"labels": "billing"}, "labels='billing'"),
        ({"labels": 3}, "labels=3"),
        ({"labels": ["a"]}, "There is one label"),
        ({"labels": ["a", "a"]}, "comes twice"),
        ({"labels": ["a", " "]}, "blank"),
        ({"labels": ["a", 1]}, "Give '1'"),
        ({"labels": ["a", None]}, "is no text.*Leave it out"),
        ({"labels": ["a", float("nan")]}, "is no text.*dropna"),
        ({"labels": Team}, "Give 'it support'"),
        ({"labels": Literal["a", "b"]}, "is a type. Give its values: typing.get_args"),
        ({"labels": {"a", "b"}}, "labels= is a set.*sorted"),
        ({"labels": frozenset("ab")}, "labels= is a set"),
        ({"labels": ["a", "b"], "multi": "no"}, "multi='no'.*True or False"),
        ({"labels": ["a", "b"], "probs": 1}, "probs=1"),
        ({"labels": ["a", "b"], "confidence": "False"}, "confidence='False'"),
        ({"labels": ["a", "\ud800"]}, "surrogate"),
        ({"labels": {"a": 3, "b": None}}, "description of 'a'"),
        ({"labels": ["a", "b"], "min_confidence": 2}, "min_confidence=2"),
        ({"labels": ["a", "b"], "min_confidence": "high"}, "min_confidence='high'"),
        ({"labels": ["a", "b"], "calibrate": True}, "calibrate=True"),
        ({"labels": ["a", "b"], "into": ""}, "into=''"),
        ({"labels": ["a", "b"], "errors": "ignore"}, "errors='ignore'"),
        ({"labels": ["a", "b"], "system": "Be brief."}, "no chat template"),
        ({"labels": ["a", "b"], "system": 3}, "system=3"),
        ({"labels": ["a", "b"], "examples": [1]}, "examples of type list"),
        ({"labels": ["a", "b"], "examples": TICKETS}, "no column 'label'"),
        ({"labels": ["a", "b"], "examples": TICKETS, "into": "gold"}, "NA in a column"),
        ({"labels": ["a", "b"], "examples": TICKETS.iloc[:1], "into": "gold"}, "has the label 'other'"),
        ({"labels": ["a", "b"], "temperature": 1.0}, "temperature= has no meaning"),
        ({"labels": ["a", "b"], "sampling_params": None}, "sampling_params= has no meaning"),
        ({"labels": ["a", "b"], "calibrated": 1}, "Did you mean 'calibrate'"),
        ({"labels": ["a", "b"], "min_conf": 0.9}, "Did you mean 'min_confidence'"),
        ({"labels": ["a", "b"], "xyz": 0.9}, "Known options: .*min_confidence"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(engine: FakeEngine, options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        frame(TICKETS).classify("text", **options)
    assert engine.calls == []


def test_examples_without_the_columns_of_the_template(engine: FakeEngine) -> None:
    examples = pd.DataFrame({"txt": ["a"], "label": ["billing"]})
    with pytest.raises(TemplateError, match=r"Of the examples: .*'text'\. Name their columns"):
        frame(TICKETS).classify("{text}", labels=LABELS, examples=examples)


def test_what_is_not_built_yet(engine: FakeEngine) -> None:
    engine.added_tokens = {ord("~"): "<think>"}
    with pytest.raises(NotSupportedYetError, match="leaves the model thinking"):
        frame(TICKETS).classify("{text}~", labels=LABELS)
    with pytest.raises(NotSupportedYetError, match="examples= with multi=True"):
        frame(TICKETS).classify("text", labels=["a"], multi=True, examples=TICKETS)

"""What every row of a run would fail for is one error before any work, and no column of reasons."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from support.fake_engine import FakeEngine

from pagednb.dataframe.accessor import frame
from pagednb.errors import ContextLengthError, OptionError, PagednbError, RowErrorsWarning, SchemaError, TemplateError

DATA = pd.DataFrame(
    {
        "text": pd.Series(["late", "lost"], dtype="string"),
        "price": [1.5, 2.0],
        "day": [datetime.datetime(2026, 1, 2)] * 2,
        "mixed": pd.Series(["a", 1.5], dtype=object),
    }
)
HALF = "\ud800"
LONG = pd.DataFrame({"text": ["x" * 3000], "label": ["a"]})
BROKEN = pd.DataFrame({"text": [HALF], "label": ["a"]}, dtype=object)


def verb(name: str, *args: Any, **options: Any) -> Callable[[], Any]:
    return lambda: getattr(frame(DATA), name)(*args, progress=False, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (verb("generate", "{price:d}"), TemplateError, r"\{price:d\} cannot be filled.*of 'price' are float"),
        (verb("generate", "{text.upper}"), TemplateError, r"\{text.upper\} is a method.*of 'text' are str"),
        (verb("generate", "{day.hours}"), TemplateError, r"\{day.hours\} cannot be filled.*of 'day' are Timestamp"),
        (verb("generate", HALF + "{text}"), TemplateError, "template is not valid Unicode"),
        (verb("agg", HALF + "{text}"), TemplateError, "template is not valid Unicode"),
        (verb("agg", "Sum: {text}", combine=HALF + "{answers}"), OptionError, "combine is not valid Unicode"),
        (verb("agg", "Sum: {text}", separator=HALF), OptionError, "separator is not valid Unicode"),
        (verb("generate", "{text}", system=HALF), OptionError, "system is not valid Unicode"),
        (verb("generate", "{text}", into="a" + HALF), OptionError, "into is not valid Unicode"),
        (verb("extract", "{text}", schema={"a" + HALF: int}), SchemaError, "schema is not valid Unicode"),
        (verb("classify", "text", labels=["a", "b"], examples=BROKEN), OptionError, "Example 0 is not valid Unicode"),
        (verb("generate", "x" * 3000 + "{text}"), ContextLengthError, "without a row's values has 3,000 tokens"),
        (verb("generate", "{text}", truncate="left", system="x" * 3000), ContextLengthError, "template, system="),
        (verb("classify", "text", labels=["a", "b" * 3000]), ContextLengthError, "without a row's values"),
        (verb("filter", "x" * 3000 + "{text}"), ContextLengthError, "at most 1,999"),
        (verb("classify", "text", labels=["a", "b"], examples=LONG), ContextLengthError, "or the examples"),
    ],
)
def test_it_is_refused_before_the_run(
    engine: FakeEngine, call: Callable[[], Any], error: type[PagednbError], message: str
) -> None:
    engine.has_chat_template = "system" in message
    with pytest.raises(error, match=message):
        call()
    assert not engine.calls


def test_labels_that_no_prompt_tells_apart(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = engine.encode
    monkeypatch.setattr(engine, "encode", lambda texts, **options: encode([text.lower() for text in texts], **options))
    for name, options in {"classify": {"labels": ["Yes", "no", "yes"]}, "score": {"choices": {"A": 1, "a": 2}}}.items():
        with pytest.raises(OptionError, match=r"(?i)'yes' and 'yes'|'a' and 'a' are the same tokens"):
            verb(name, "text", **options)()
    assert not engine.calls


@pytest.mark.parametrize("template", ["{price:.0f}", "{day:%Y}", "{text[0]}"])
def test_what_all_values_can_fill_is_filled(engine: FakeEngine, template: str) -> None:
    assert frame(DATA).generate(template, progress=False)["generated"].notna().all()


@pytest.mark.parametrize("template", ["{mixed:.1f}", "{mixed.upper}"])
def test_what_one_row_may_be_right_for_is_left_to_it(engine: FakeEngine, template: str) -> None:
    with pytest.warns(RowErrorsWarning, match="of 2 rows failed"):
        frame(DATA).generate(template, progress=False)
    assert frame(DATA[:0]).generate("{price:d}", progress=False).shape == (0, 5)

"""Verbs on Polars frames and Arrow tables: the same values as on pandas, results of the same kind."""

from __future__ import annotations

import datetime
import enum
import json
import warnings
from typing import Any, Literal, TypedDict

import narwhals as nw
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from support.fake_engine import FakeEngine, reverse

import pagednb
from pagednb.dataframe.accessor import frame
from pagednb.dataframe.rows.native_columns import native_column
from pagednb.errors import NotSupportedYetError, OptionError, RowErrors, RowErrorsWarning, TemplateError
from pagednb.structured_output.field_spec import FieldSpec

TEXTS = ["late", None, "login", "late"]
DATA = pl.DataFrame(
    {
        "text": TEXTS,
        "n": [1, 2, None, 4],
        "day": [datetime.date(2026, 1, 2)] * 4,
        "tags": [["a"], [], None, ["b", "c"]],
        "kind": pl.Series(["y", "x", None, "y"], dtype=pl.Enum(["y", "x"])),
    }
)


class Item(TypedDict):
    x: int | None


class Team(enum.Enum):
    BILLING = "billing"
    OTHER = "other"


def test_texts_come_back_as_polars(engine: FakeEngine) -> None:
    result = frame(DATA).generate("text")
    assert isinstance(result, pl.DataFrame) and result.columns == [*DATA.columns, "generated"]
    assert result["generated"].to_list() == [text and reverse(text) for text in TEXTS]
    assert result.schema["generated"] == pl.String
    assert result.drop("generated").equals(DATA)
    assert pagednb.last_run().frame.equals(result)
    assert pagednb.last_run().figures.missing == 1


@pytest.mark.parametrize("template", ["{text} {n}", "{kind}: {day}", "{tags}", "{n:03d}"])
def test_prompts_are_those_of_python_values(engine: FakeEngine, template: str) -> None:
    result = frame(DATA).generate(template, into="out")["out"].to_list()
    rows = [{name: getattr(value, "value", value) for name, value in row.items()} for row in DATA.iter_rows(named=True)]
    used = [name for name in DATA.columns if f"{{{name}" in template]
    assert result == [None if None in [row[u] for u in used] else reverse(template.format(**row)) for row in rows]


def test_only_columns_of_the_template_are_read(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    keep = pl.Series.to_list
    monkeypatch.setattr(pl.Series, "to_list", lambda self: read.append(self.name) or keep(self))  # type: ignore[func-returns-value]
    frame(DATA).generate("{text}", sample=2)
    assert read == ["text"]


def test_typed_columns(engine: FakeEngine) -> None:
    engine.answer = lambda _: '{"team":"other","urgent":true,"number":null,"share":0.5,"items":[{"name":"x"}]}'
    fields = {"team": Team, "urgent": bool, "number": int | None, "share": float, "items": list[dict[str, str]]}
    result = frame(DATA).extract("{text}", schema=fields, into="e", max_tokens=200)
    types = {name: dtype for name, dtype in result.schema.items() if name.startswith("e_")}
    assert types == {
        "e_team": pl.Enum(["billing", "other"]),
        "e_urgent": pl.Boolean,
        "e_number": pl.Int64,
        "e_share": pl.Float64,
        "e_items": pl.List(pl.Struct({"name": pl.String})),
    }
    assert result["e_team"].to_list() == ["other", None, "other", "other"]
    with pytest.raises(OptionError, match="column 'text' already"):
        frame(DATA).extract("{text}", schema={"text": str})


def test_labels_with_confidence(engine: FakeEngine) -> None:
    labels = ["late", "other"]
    result = frame(DATA).classify("text", labels=labels, probs=True, into="team")
    expected = frame(pd.DataFrame({"text": TEXTS})).classify("text", labels=labels, probs=True, into="team")
    assert result.schema["team"] == pl.Enum(labels) and result.schema["team_confidence"] == pl.Float32
    assert result["team"].to_list() == [None if pd.isna(label) else label for label in expected["team"]]
    assert result["team_probs"].to_list() == expected["team_probs"].tolist()
    assert frame(DATA).filter("text", into="ok").schema["ok"] == pl.Boolean


def test_reasons_stand_in_a_column_and_go_again(engine: FakeEngine) -> None:
    engine.resolved.max_model_len = engine.geometry.max_model_len = 200
    data = DATA.with_columns(text=pl.Series(["late", "x" * 500, None, "b"]))
    with pytest.warns(RowErrorsWarning, match=r"1 of 4 rows failed.*column 'generated_error'"):
        failed = frame(data).generate("text")
    assert failed["generated_error"].is_not_null().to_list() == [False, True, False, False]
    with pytest.raises(RowErrors) as error:
        frame(data).generate("text", errors="raise")
    assert isinstance(error.value.frame, pl.DataFrame)
    assert error.value.frame["n"].to_list() == [2] and "generated_error" in error.value.frame.columns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cut = frame(failed).generate("text", truncate="left", max_tokens=50)
    assert "generated_error" not in cut.columns and cut["generated"].is_null().to_list() == [False, False, True, False]


def test_in_the_background(engine: FakeEngine) -> None:
    job = frame(DATA).generate("text", background=True)
    assert job.result().equals(frame(DATA).generate("text")) and isinstance(job.partial(), pl.DataFrame)


def test_series(engine: FakeEngine) -> None:
    result = frame(DATA["text"]).generate("{}!")
    assert isinstance(result, pl.Series) and result.name == "text"
    assert result.to_list() == [text and reverse(f"{text}!") for text in TEXTS]
    engine.answer = lambda _: '{"a":1,"b":"x"}'
    extracted = frame(DATA["text"]).extract(schema={"a": int, "b": str})
    assert extracted.schema == {"a": pl.Int64, "b": pl.String} and len(extracted) == 4
    assert len(frame(DATA["text"]).preview("{text}?").prompts) == 3


def test_arrow_tables(engine: FakeEngine) -> None:
    table = pa.table({"text": TEXTS})
    result = frame(table).generate("text")
    assert isinstance(result, pa.Table)
    assert result.column("generated").to_pylist() == [text and reverse(text) for text in TEXTS]
    engine.answer = lambda _: '{"team":"other"}'
    labelled = frame(table).extract("text", schema={"team": Team})
    assert labelled.column("team").to_pylist() == ["other", None, "other", "other"]


def test_a_frame_that_grows_has_its_new_rows(engine: FakeEngine) -> None:
    data = pl.DataFrame({"text": ["a"]})
    verbs, series_verbs = frame(data), frame(data["text"])
    assert len(verbs.generate("text")) == len(series_verbs.generate()) == 1
    data.extend(pl.DataFrame({"text": ["b"]}))
    assert verbs.generate("text")["generated"].to_list() == ["a", "b"]


def test_empty_frames(engine: FakeEngine) -> None:
    result = frame(DATA.clear()).generate("text")
    assert result.shape == (0, 6) and result.schema["generated"] == pl.String


def test_review(engine: FakeEngine) -> None:
    labels = pl.Series("team", ["a", None, "b", "a"], dtype=pl.Enum(["b", "a"]))
    data = DATA.select("text").with_columns(labels, team_confidence=pl.Series([0.9, None, 0.5, 0.2]))
    review = frame(data).review("team")
    assert [review.text(row) for row in range(len(review))] == ["late", "login"]
    review.relabel(0, "b")
    result = review.frame
    assert result["team_reviewed"].to_list() == ["b", None, None, "b"]  # equal texts, one decision
    assert result.schema["team_reviewed"] == pl.Enum(["b", "a"])


def test_what_does_not_work_says_so(engine: FakeEngine) -> None:
    with pytest.raises(NotSupportedYetError, match="only pandas frames remember"):
        frame(DATA).retry("generated")
    with pytest.raises(OptionError, match=r"LazyFrame has none yet. Fetch them first: collect\(\)"):
        frame(DATA.lazy())
    for no_frame in ([1], {"a": [1]}, None):
        with pytest.raises(OptionError, match=r"pandas, Polars or Arrow.*Make one"):
            frame(no_frame)
    with pytest.raises(TemplateError, match=r"\{text\}"):
        frame(DATA).generate("{txt}")


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
@pytest.mark.parametrize(
    "values", [[{"a": 1}, {"b": "x"}], [{"a": 1}, None, {"a": 2.5}], [1, "x"], [[1], ["x"], []], [None], []]
)
def test_nested_values_are_never_changed(library: str, values: list[Any]) -> None:
    held = native_column("c", pd.Series(values, dtype=object), library).to_list()
    if library == "polars":
        assert [type(value) for value in held] == [type(value) for value in values]
    assert len(held) == len(values)
    for value, back in zip(values, held, strict=True):
        if isinstance(value, dict) and isinstance(back, dict):
            assert {key: item for key, item in back.items() if item is not None} == value
        elif not isinstance(back, str):
            assert back == value


NESTED = {
    "l": list[int],
    "d": {"x": int, "y": list[float]},
    "k": list[Literal["a", "b"]],
    "o": list[Item],
}
ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "some of it": ("classify", {"labels": ["a", "b"], "multi": True, "probs": True, "into": "out"}),
    "a distribution": ("score", {"scale": (1, 3), "into": "out"}),
    "several texts": ("generate", {"n": 2, "logprobs": True, "temperature": 1.0, "into": "out"}),
    "nested fields": ("extract", {"schema": NESTED, "into": "out", "max_tokens": 200}),
    "whole objects": ("extract", {"schema": NESTED, "expand": False, "into": "out", "max_tokens": 200}),
    "numbers to choose from": ("extract", {"schema": {"k": Literal[1, 2], "f": Literal[0.5, 1.5]}, "into": "out"}),
}


@pytest.mark.parametrize("case", ANSWERS)
@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_types_do_not_depend_on_the_rows(engine: FakeEngine, library: str, case: str) -> None:
    verb, options = ANSWERS[case]
    values = '{"k":1,"f":1.5}' if "numbers" in case else '{"l":[3],"d":{"x":1,"y":[1,2.5]},"k":["a"],"o":[{"x":null}]}'
    if verb == "extract":
        engine.answer = lambda _: values
    types = []
    for texts in (["late", "x"], [None, None], []):
        data = nw.from_native(pl.DataFrame({"text": texts}, schema={"text": pl.String}))
        native = data.to_native() if library == "polars" else data.to_arrow()
        of_frame = getattr(frame(native), verb)("text", **options)
        of_series = getattr(frame(native["text"]), verb)(**options)
        made = nw.from_native(of_frame).schema
        types.append({name: dtype for name, dtype in made.items() if name.startswith("out")})
        beside = nw.from_native(of_series, allow_series=True)
        types.append(dict(beside.schema) if isinstance(beside, nw.DataFrame) else {"out": beside.dtype})
    assert types == [types[0]] * len(types)
    assert not any(isinstance(dtype, nw.Unknown | nw.Object) for made in types for dtype in made.values())


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
@pytest.mark.parametrize("values", [[[1, 2.5], None], [[10**400]], [["x"]], [[1, [2]]]])
def test_what_is_not_of_the_declared_type_is_kept_as_it_is(library: str, values: list[Any]) -> None:
    holds = FieldSpec(kind="array", items=FieldSpec(kind="number"))
    held = native_column("c", pd.Series(values, dtype=object), library, holds)
    assert [json.loads(value) if isinstance(value, str) else value for value in held.to_list()] == values

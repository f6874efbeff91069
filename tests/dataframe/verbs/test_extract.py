"""``extract`` around an engine that answers as told: columns, errors and names; what the engine is asked."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import warnings
from typing import Any, Literal

import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_engine import FakeEngine

from pagednb import runtime
from pagednb.dataframe.accessor import frame
from pagednb.dataframe.extraction.answer_schema import AnswerSchema
from pagednb.dataframe.results.columns import TEXT_DTYPE
from pagednb.dataframe.run.sampling import row_sampling_params
from pagednb.dataframe.verbs.extract import schema_params
from pagednb.errors import OptionError, RowErrors, RowErrorsWarning, SchemaError, TemplateError
from pagednb.sampling_params import SamplingParams

SCHEMA = {"brand": str, "year": int | None, "kind": Literal["b", "a"], "parts": list[str]}
DTYPES = {"brand": TEXT_DTYPE, "year": "Int64", "kind": "category", "parts": object}


@dataclasses.dataclass
class Car:
    """Refuses one year."""

    brand: str
    year: int | None

    def __post_init__(self) -> None:
        if self.year == 13:
            raise ValueError("unlucky")


@pytest.fixture(autouse=True)
def unconstrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake engine says what it is told; it needs no constraint."""

    def params(given: SamplingParams | None, options: Any, schema: AnswerSchema) -> SamplingParams:
        return row_sampling_params(given, options, {})

    monkeypatch.setattr("pagednb.dataframe.verbs.extract.schema_params", params)


def last_line(prompt: str) -> str:
    """The answer of a row is the row's own text, which stands last."""
    return prompt.rsplit("\n", 1)[1]


def answering(monkeypatch: pytest.MonkeyPatch, **options: Any) -> FakeEngine:
    engine = FakeEngine(answer=last_line, **options)
    monkeypatch.setattr(runtime, "get_engine", lambda: engine)
    monkeypatch.setattr(runtime._RUNTIME, "name_to_kept", {})
    return engine


def row(**values: Any) -> str:
    return json.dumps({"brand": "x", "year": None, "kind": "a", "parts": []} | values)


def test_fields_become_typed_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch)
    data = pd.DataFrame({"text": [row(year=3), None, row(parts=["p"])]}, index=[1, 1, 0])
    result = frame(data).extract("text", schema=SCHEMA, progress=False)
    assert list(result.columns) == ["text", *SCHEMA]
    assert {name: result[name].dtype for name in SCHEMA} == DTYPES
    assert result["kind"].cat.categories.tolist() == ["b", "a"]
    assert result["year"].tolist() == [3, pd.NA, pd.NA]
    assert result["parts"].tolist() == [[], None, ["p"]]
    pd.testing.assert_index_equal(result.index, data.index)
    assert AnswerSchema.of(result.attrs["pagednb"]["schema"]).text == AnswerSchema.of(SCHEMA).text
    json.dumps(result.attrs)


def test_names_follow_into(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch)
    data = pd.DataFrame({"brand": [row()], "car_year": [1]})
    with pytest.raises(OptionError, match=r"column 'brand' already.*extracted_brand"):
        frame(data).extract("brand", schema=SCHEMA)
    result = frame(data).extract("brand", schema=SCHEMA, into="car", progress=False)
    assert list(result.columns) == ["brand", "car_year", "car_brand", "car_kind", "car_parts"]
    assert result["car_year"].isna().all()
    whole = frame(data).extract("brand", schema=SCHEMA, expand=False, progress=False)
    assert whole["extracted"].tolist() == [json.loads(row())]
    with pytest.raises(OptionError, match="where reasons of failures go"):
        frame(data).extract("brand", schema={"error": str}, into="x")
    with pytest.raises(OptionError, match="extract needs schema"):
        frame(data).extract("brand")
    with pytest.raises(SchemaError, match="Any is not supported"):
        frame(data).extract("brand", schema={"a": Any})
    with pytest.raises(TemplateError):
        frame(data).extract("{nothing}", schema={"a": str})


@pytest.mark.parametrize("num_rows", [0, 2])
def test_dtypes_hold_without_answers(monkeypatch: pytest.MonkeyPatch, num_rows: int) -> None:
    answering(monkeypatch)
    data = pd.DataFrame({"text": pd.Series(["", " "][:num_rows], dtype=TEXT_DTYPE)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RowErrorsWarning)
        result = frame(data).extract("{text}", schema=SCHEMA, progress=False)
        columns = frame(data["text"]).extract(schema=SCHEMA, progress=False)
    for made in (result, columns):
        assert {name: made[name].dtype for name in SCHEMA} == DTYPES
        assert made["kind"].cat.categories.tolist() == ["b", "a"]
        assert len(made) == num_rows


def test_a_cut_answer_is_an_error_that_names_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch)
    data = pd.DataFrame({"text": [row(), row(brand="long" * 50)]})
    with pytest.warns(RowErrorsWarning, match="1 of 2 rows failed.*cut at max_tokens=100"):
        result = frame(data).extract("text", schema=SCHEMA, max_tokens=100, progress=False)
    assert result["extracted_error"].isna().tolist() == [True, False]
    assert result["brand"].isna().tolist() == [False, True]
    assert result.attrs["pagednb"]["failed"] == 1
    with pytest.raises(RowErrors) as raised:
        frame(data).extract("text", schema=SCHEMA, max_tokens=100, errors="raise", progress=False)
    assert raised.value.frame["extracted_error"].tolist() == ["The answer was cut at max_tokens=100; give it more."]


def test_a_sampled_answer_that_was_cut_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    engine = answering(monkeypatch)
    for temperature, num_asked in ((1.0, 2), (0.0, 1)):
        folder = tmp_path / str(temperature)
        data, options = pd.DataFrame({"text": ['{"a":"long"}']}), {"max_tokens": 3, "checkpoint": folder}
        engine.calls.clear()
        for _ in range(2):
            with pytest.warns(RowErrorsWarning, match="cut at max_tokens=3"):
                frame(data).extract("text", schema={"a": str}, temperature=temperature, cache=False, **options)
        assert sum(len(call.submitted) for call in engine.calls) == num_asked


def test_instances_of_the_class_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model(pydantic.BaseModel):
        brand: str
        year: int | None

    answering(monkeypatch)
    texts = pd.Series(['{"brand":"x","year":1}', '{"brand":"y","year":13}', None], index=[0, 0, 1], name="text")
    with pytest.warns(RowErrorsWarning, match="refused the values: ValueError: unlucky"):
        cars = frame(texts).extract(schema=Car, expand=False, progress=False)
    assert cars.tolist() == [Car("x", 1), None, None]
    assert (cars.name, cars.dtype) == ("text", object)
    assert cars.attrs["pagednb"]["failures"][0]["row"] == 1
    models = frame(texts).extract(response_format=Model, expand=False, progress=False)
    assert models.tolist() == [Model(brand="x", year=1), Model(brand="y", year=13), None]
    assert frame(texts).extract(schema=Car, progress=False)["year"].tolist() == [1, 13, pd.NA]


def test_the_prompt_names_the_fields_before_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine(answer=lambda prompt: json.dumps({"brand": prompt}))
    monkeypatch.setattr(runtime, "get_engine", lambda: engine)
    data = pd.DataFrame({"text": ["one", "two"]})
    result = frame(data).extract("Car: {text}", schema={"brand": str}, max_tokens=500, progress=False)
    before = "Answer with a JSON object that has these fields:\n- brand (text)\n\nCar: "
    assert result["brand"].tolist() == [before + "one", before + "two"]


def test_answers_are_held_to_the_schema() -> None:
    schema = AnswerSchema.of({"a": str})
    try:
        params = schema_params(None, {"max_tokens": 5}, schema)
    except NotImplementedError:
        pytest.skip("constrained sampling is not built")
    assert (params.temperature, params.max_tokens, params.schema) == (0.0, 5, schema.text)
    given_params = schema_params(SamplingParams(temperature=1.0), {}, schema)
    assert (given_params.temperature, given_params.schema) == (1.0, schema.text)


CELLS = st.one_of(
    st.sampled_from([None, np.nan, pd.NA, "", " ", '{"brand": "x', b"bytes", "[]"]),
    st.builds(
        lambda brand, year, kind: json.dumps({"brand": brand, "year": year, "kind": kind, "parts": [brand]}),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.sampled_from("ab"),
    ),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(CELLS, max_size=8), st.sampled_from(["range", "repeated", "levels"]), st.booleans(), st.integers(0, 99))
def test_any_frame(cells: list[Any], kind: str, expand: bool, seed: int) -> None:
    data = pd.DataFrame({"text": pd.Series(cells, dtype=object)})
    if kind == "repeated":
        data.index = pd.Index([7] * len(cells))
    elif kind == "levels":
        data.index = pd.MultiIndex.from_arrays([[1] * len(cells), ["k"] * len(cells)])
    engine = FakeEngine(answer=last_line, max_per_poll=2, seed=seed)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", RowErrorsWarning)
        patch.setattr(runtime, "get_engine", lambda: engine)
        patch.setattr(runtime._RUNTIME, "name_to_kept", {})
        result = frame(data).extract("text", schema=SCHEMA, expand=expand, max_tokens=1000, progress=False)
    pd.testing.assert_frame_equal(result[["text"]], data)
    is_good = [isinstance(cell, str) and cell.endswith("}") for cell in cells]
    is_missing = [not isinstance(cell, bytes) and bool(pd.isna(cell)) for cell in cells]
    wanted = [json.loads(cell) if good else None for cell, good in zip(cells, is_good, strict=True)]
    if expand:
        assert {name: result[name].dtype for name in SCHEMA} == DTYPES
        for name in SCHEMA:
            found = [None if item is None or item is pd.NA or item != item else item for item in result[name]]
            assert found == [None if values is None else values[name] for values in wanted]
    else:
        assert result["extracted"].tolist() == wanted
    num_failed = len(cells) - sum(is_good) - sum(is_missing)
    assert result.attrs["pagednb"]["failed"] == num_failed
    assert ("extracted_error" in result) == (num_failed > 0)

"""``extract`` through a real engine with random weights: whatever the model would say, every value fits the schema."""

from __future__ import annotations

import json
import pathlib
import warnings
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import jsonschema
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.random_schemas import schemas
from support.tiny_models import tiny_byte_model

import pagednb
from pagednb import SamplingParams
from pagednb.dataframe import accessor
from pagednb.dataframe.extraction.answer_schema import AnswerSchema
from pagednb.errors import NotSupportedYetError, RowErrorsWarning

SCHEMA: dict[str, Any] = {
    "topic": Literal["billing", "shipping", "other"],
    "stars": Annotated[int, range(1, 6)],
    "refund": bool,
    "order": int | None,
}


def is_constrained_sampling_built() -> bool:
    try:
        return bool(SamplingParams(schema='{"type":"object"}'))
    except NotSupportedYetError:
        return False


pytestmark = pytest.mark.skipif(not is_constrained_sampling_built(), reason="constrained sampling is not built")


@pytest.fixture(scope="module", autouse=True)
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder: pathlib.Path = tiny_byte_model(tmp_path_factory.mktemp("model"))
    pagednb.load(folder, device="cpu", dtype="float32", max_model_len=600, max_num_seqs=4)
    yield
    pagednb.unload()
    accessor.unregister()


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_every_value_fits_the_schema(temperature: float) -> None:
    texts = pd.Series([f"order {i} is late" for i in range(8)] + [None])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RowErrorsWarning)
        options: dict[str, Any] = {"temperature": temperature, "seed": 1, "max_tokens": 150, "progress": False}
        whole = pagednb.frame(texts).extract(schema=SCHEMA, expand=False, **options)
        columns = pagednb.frame(texts).extract(schema=SCHEMA, **options)
    reasons = {failure["row"]: failure["error"] for failure in whole.attrs["pagednb"]["failures"]}
    assert all("cut at max_tokens=150" in reason for reason in reasons.values())
    assert whole.notna().any()
    schema = json.loads(AnswerSchema.of(SCHEMA).text)
    for row, values in enumerate(whole):
        if values is None:
            assert row in reasons or pd.isna(texts[row])
            continue
        jsonschema.validate(values, schema)
        found = {name: None if pd.isna(columns[name][row]) else columns[name][row] for name in SCHEMA}
        assert found == values


@pytest.mark.parametrize("name", ["schema", "response_format"])
def test_generate_takes_constraints(name: str) -> None:
    texts = pd.Series(["late", "broken", "wonderful"])
    options: dict[str, Any] = {"temperature": 1.0, "seed": 2, "max_tokens": 60, "progress": False}
    answers = pagednb.frame(texts).generate(**{name: {"stars": Annotated[int, range(1, 6)]}}, **options)
    assert all(json.loads(answer)["stars"] in range(1, 6) for answer in answers)
    labels = pagednb.frame(texts).generate(choices=["good", "bad, very", "so so"], **options)
    assert set(labels) <= {"good", "bad, very", "so so"}


def test_random_schemas_become_columns_that_fit() -> None:
    num_values = 0
    texts = pd.DataFrame({"text": ["late", "lost", None]})

    @settings(max_examples=15, derandomize=True)
    @given(fields=st.dictionaries(st.sampled_from("abc"), schemas, min_size=1, max_size=3), seed=st.integers(0, 99))
    def check(fields: dict[str, Any], seed: int) -> None:
        nonlocal num_values
        schema = {"type": "object", "properties": fields, "required": list(fields)}
        options: dict[str, Any] = {"temperature": 1.0, "seed": seed, "max_tokens": 200, "progress": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RowErrorsWarning)
            whole = pagednb.frame(texts).extract("text", schema=schema, expand=False, **options)
            columns = pagednb.frame(texts).extract("text", schema=schema, **options)
        reasons = {failure["row"]: failure["error"] for failure in whole.attrs["pagednb"]["failures"]}
        assert all("cut at max_tokens=200" in reason for reason in reasons.values())
        assert [name for name in columns.columns if name in "abc"] == list(fields)
        for row, value in enumerate(whole["extracted"]):
            if row == 2 or row in reasons:
                assert columns.loc[row, list(fields)].isna().all()
                continue
            num_values += 1
            jsonschema.validate(value, schema)
            assert value.keys() == fields.keys()
            for name in fields:
                cell = columns.loc[row, name]
                assert pd.isna(cell) if value[name] is None else cell == value[name]

    check()
    assert num_values >= 12  # of 30

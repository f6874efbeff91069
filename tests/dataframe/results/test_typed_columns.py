"""Columns have the dtypes of the schema and the values of the rows, whatever rows there are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagednb.dataframe.extraction.answer_schema import AnswerSchema
from pagednb.dataframe.extraction.prompt import fields_in_words
from pagednb.dataframe.results.columns import TEXT_DTYPE
from pagednb.dataframe.results.typed_columns import typed_columns

TYPES: dict[str, tuple[Any, st.SearchStrategy[Any], Any]] = {
    "text": (str, st.text(max_size=3), TEXT_DTYPE),
    "whole": (int | None, st.none() | st.integers(-(2**63), 2**63 - 1), "Int64"),
    "number": (float, st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9), "Float64"),
    "flag": (bool | None, st.none() | st.booleans(), "boolean"),
    "kind": (
        Literal["b", "a", "c"],
        st.sampled_from("abc"),
        pd.CategoricalDtype(pd.Index(list("bac"), dtype=TEXT_DTYPE)),
    ),
    "rank": (Literal[2, 1, None], st.sampled_from([1, 2, None]), pd.CategoricalDtype([2, 1])),
    "mixed": (Literal["x", 1], st.sampled_from(["x", 1]), pd.CategoricalDtype(pd.Index(["x", 1], dtype=object))),
    "clash": (Literal[True, 1], st.sampled_from([True, 1]), object),
    "parts": (list[int] | None, st.none() | st.lists(st.integers(), max_size=2), object),
    "inner": ({"a": int}, st.fixed_dictionaries({"a": st.integers()}), object),
    "either": (int | str, st.integers() | st.text(max_size=2), object),
}
SCHEMA = AnswerSchema.of({name: declared for name, (declared, _, _) in TYPES.items()})
ROWS = st.none() | st.fixed_dictionaries({name: value for name, (_, value, _) in TYPES.items()})


def check_dtypes(columns: dict[str, Any]) -> None:
    assert list(columns) == list(TYPES)
    for name, (_, _, dtype) in TYPES.items():
        assert columns[name].dtype == dtype, name
        assert columns[name].to_frame("x")["x"].dtype == dtype
        if isinstance(dtype, pd.CategoricalDtype):
            assert columns[name].cat.categories.tolist() == dtype.categories.tolist()
            assert not columns[name].cat.ordered


@settings(max_examples=150, deadline=None)
@given(st.lists(ROWS, max_size=6))
def test_every_row_has_its_values(rows: list[dict[str, Any] | None]) -> None:
    columns = typed_columns(rows, SCHEMA.fields, pd.Index([7] * len(rows)))
    check_dtypes(columns)
    for name, column in columns.items():
        values = [None if row is None else row[name] for row in rows]
        assert [None if item is None or item is pd.NA or item != item else item for item in column] == values
        assert [type(item) for item in column if name == "clash" and item is not None] == [
            type(value) for value in values if name == "clash" and value is not None
        ]


@pytest.mark.parametrize("num_rows", [0, 3])
def test_dtypes_need_no_answers(num_rows: int) -> None:
    columns = typed_columns([None] * num_rows, SCHEMA.fields, pd.Index([7] * num_rows))
    check_dtypes(columns)
    assert all(column.isna().all() and len(column) == num_rows for column in columns.values())


def test_numbers_become_what_their_field_is() -> None:
    values = SCHEMA.parse('{"whole": 3.0, "number": 2, "text": "a\\ud800b", "inner": {"a": 1}}')
    assert values == {"whole": 3, "number": 2.0, "text": "a\ufffdb", "inner": {"a": 1}}
    assert (type(values["whole"]), type(values["number"])) == (int, float)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ('{"whole": 9223372036854775808}', "too large"),
        ('{"whole": 1e400}', "too large"),
        ('{"number": ' + "9" * 400 + "}", "too large"),
        ('{"whole": 1.5}', "no whole number"),
        ('{"flag": 1}', "'flag' is 1, which is no boolean"),
        ('{"kind": "d"}', "no choice of 'kind'"),
        ("[]", "no JSON object"),
        ('{"kind": "', "Unterminated string"),
    ],
)
def test_an_answer_that_would_spoil_its_column_is_refused(answer: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SCHEMA.parse(answer)


def test_fields_in_words() -> None:
    schema = AnswerSchema.of(
        {
            "brand": Annotated[str, "as printed"],
            "stars": Annotated[int, range(1, 6)] | None,
            "kind": Literal["a", "b"],
            "parts": list[Literal[1, 2]],
            "maker": {"country": str},
        }
    )
    assert fields_in_words(schema.fields).splitlines() == [
        "Answer with a JSON object that has these fields:",
        "- brand (text): as printed",
        "- stars (whole number from 1 to 5, or null)",
        '- kind (one of "a", "b")',
        "- parts (list of one of 1, 2)",
        "- maker (object)",
        "  - country (text)",
    ]

"""Frames that are out to break something: every index, missing values of every kind, cells that are no text."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import strategies as st

CELLS = st.one_of(
    st.sampled_from([None, np.nan, pd.NA, pd.NaT]),
    st.text(max_size=12),
    st.sampled_from(["", "same", "same", "long " * 40, "{other}", "{{text}}", '{"a": 1}']),
    st.integers(),
    st.floats(allow_nan=False),
    st.datetimes(),
    st.binary(max_size=3),
    st.text(st.characters(categories=["Cs"]), min_size=1, max_size=2),
)


TEXTS = st.none() | st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["same", "long " * 400])
# dtypes of a column, each with what it holds
TYPED: list[tuple[str, st.SearchStrategy[object]]] = [
    ("object", CELLS),
    ("string", TEXTS),
    ("str", st.text(st.characters(codec="utf-8"), max_size=12)),
    ("category", TEXTS),
    ("Int64", st.none() | st.integers(-(2**63), 2**63 - 1)),
    ("Float64", st.none() | st.floats(allow_nan=False, width=32)),
    ("boolean", st.none() | st.booleans()),
    ("string[pyarrow]", TEXTS),
    ("int64[pyarrow]", st.none() | st.integers(-(2**63), 2**63 - 1)),
    ("timestamp[us][pyarrow]", st.none() | st.datetimes()),
    ("datetime64[ns]", st.none() | st.datetimes(pd.Timestamp(1700, 1, 1), pd.Timestamp(2200, 1, 1))),
]


@st.composite
def frames(draw: st.DrawFn, max_rows: int = 60) -> pd.DataFrame:
    dtype, values = draw(st.sampled_from(TYPED))
    cells = draw(st.lists(values, max_size=max_rows))
    others = draw(st.lists(st.sampled_from(["u", "v", None]), min_size=len(cells), max_size=len(cells)))
    data = pd.DataFrame({"text": pd.Series(cells, dtype=dtype), "other": pd.Series(others, dtype="category")})
    labels = draw(st.lists(st.integers(0, 2), min_size=len(cells), max_size=len(cells)))
    kind = draw(st.sampled_from(["range", "repeated", "levels", "dates"]))
    if kind == "repeated":
        data.index = pd.Index(labels, name="id")
    elif kind == "levels":
        data.index = pd.MultiIndex.from_arrays([labels, ["k"] * len(cells)], names=["a", None])
    elif kind == "dates":
        data.index = pd.DatetimeIndex(["2024-01-01"] * len(cells))
    return data

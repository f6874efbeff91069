"""``embed``: a vector a row, the same whatever is cached, resumed, sampled or in another library."""

from __future__ import annotations

import asyncio
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
import transformers
from support.fake_engine import FakeEngine, fake_embedding
from support.tiny_models import tiny_model

import pagednb
from pagednb.dataframe import accessor
from pagednb.dataframe.accessor import frame
from pagednb.errors import OptionError, RowErrors, RowErrorsWarning, TemplateError

TEXTS = ["late", None, "login", "late", "café"]
DATA = pd.DataFrame({"text": TEXTS, "n": range(5)}, index=[1, 1, 2, 2, 3])


def expected(texts: list[Any], pooling: Any = "last", *, normalize: bool = True) -> list[Any]:
    vectors = [None if text is None else fake_embedding(text.encode(), pooling) for text in texts]
    return [vector if vector is None or not normalize else vector / np.linalg.norm(vector) for vector in vectors]


def check(column: Any, vectors: list[Any]) -> None:
    assert len(column) == len(vectors)
    for vector, wanted in zip(column, vectors, strict=True):
        if wanted is None:
            assert vector is None
        else:
            assert vector.dtype == np.float32 and vector.flags.writeable
            np.testing.assert_allclose(vector, wanted, rtol=1e-6)


@pytest.mark.parametrize("pooling", ["last", "cls", "mean"])
@pytest.mark.parametrize("normalize", [True, False])
def test_each_row_has_its_vector(engine: FakeEngine, pooling: Any, normalize: bool) -> None:
    result = frame(DATA).embed("text", pooling=pooling, normalize=normalize)
    check(result["embedding"], expected(TEXTS, pooling, normalize=normalize))
    pd.testing.assert_frame_equal(result.drop(columns="embedding"), DATA)
    figures = result.attrs["pagednb"]
    assert (figures["computed"], figures["duplicates"], figures["missing"]) == (3, 1, 1)
    assert figures["cut_at_max_tokens"] == 0


def test_rows_with_the_same_text_have_vectors_of_their_own(engine: FakeEngine) -> None:
    column = frame(DATA).embed("text")["embedding"]
    column.iloc[0][:] = 0
    check(column.iloc[3:4], expected(["late"]))


def test_a_series_and_an_awaitable(engine: FakeEngine) -> None:
    column = frame(DATA["text"]).embed("x{}")
    assert column.name == "text" and column.index.equals(DATA.index)
    texts = [text and f"x{text}" for text in TEXTS]
    check(column, expected(texts))
    check(asyncio.run(frame(DATA).aembed("x{text}", into="v"))["v"], expected(texts))


def test_the_model_reads_the_text_as_it_stands(engine: FakeEngine) -> None:
    engine.has_chat_template = engine.reads_plain_texts = True
    check(frame(DATA).embed("text")["embedding"], expected(TEXTS))


def test_cache_and_checkpoint_keep_vectors(engine: FakeEngine, tmp_path: pathlib.Path) -> None:
    kept: dict[str, Any] = {"cache": tmp_path / "cache", "checkpoint": tmp_path / "run"}
    first = frame(DATA).embed("text", **kept, sample=2)
    assert first.attrs["pagednb"]["not_sampled"] == 2
    resumed = frame(DATA).embed("text", checkpoint=tmp_path / "run", cache=False)
    assert resumed.attrs["pagednb"]["resumed"] >= 1
    check(resumed["embedding"], expected(TEXTS))
    # how long vectors are is decided afterwards
    frame(DATA).embed("text", cache=tmp_path / "cache")
    again = frame(DATA).embed("text", cache=tmp_path / "cache", normalize=False)
    assert again.attrs["pagednb"]["reused"] == 3 and again.attrs["pagednb"]["computed"] == 0
    check(again["embedding"], expected(TEXTS, normalize=False))
    other = frame(DATA).embed("text", cache=tmp_path / "cache", pooling="mean")
    assert other.attrs["pagednb"]["computed"] == 3


def test_in_memory_the_same_cell_costs_nothing(engine: FakeEngine) -> None:
    frame(DATA).embed("text")
    again = frame(DATA).embed("text")
    assert again.attrs["pagednb"]["computed"] == 0
    check(again["embedding"], expected(TEXTS))


def test_rows_that_are_too_long_fail_and_are_cut_by_retry(engine: FakeEngine) -> None:
    engine.geometry.max_model_len = engine.resolved.max_model_len = 100
    data = pd.DataFrame({"text": ["a", "b" * 500, "c"]})
    with pytest.warns(RowErrorsWarning, match="1 of 3 rows"):
        result = frame(data).embed("text", normalize=False, pooling="mean", into="v")
    check(result["v"], [*expected(["a"], "mean", normalize=False), None, *expected(["c"], "mean", normalize=False)])
    assert result["v_error"].notna().tolist() == [False, True, False]
    with pytest.raises(RowErrors):
        frame(data).embed("text", errors="raise")
    whole = frame(result).retry("v", truncate="right")
    assert "v_error" not in whole and whole["v"].iloc[1][1] == 99
    check(whole["v"].iloc[[0, 2]], expected(["a", "c"], "mean", normalize=False))


def test_no_rows_and_only_missing_ones(engine: FakeEngine) -> None:
    assert frame(DATA.iloc[:0]).embed("text")["embedding"].dtype == object
    assert frame(DATA.iloc[[1]]).embed("text")["embedding"].tolist() == [None]
    assert not any(call.submitted for call in engine.calls)


def test_polars_and_arrow_get_lists_of_float32(engine: FakeEngine) -> None:
    native = pl.DataFrame({"text": TEXTS})
    result = frame(native).embed("text")
    assert result.schema["embedding"] == pl.List(pl.Float32)
    for vector, wanted in zip(result["embedding"].to_list(), expected(TEXTS), strict=True):
        assert vector is None if wanted is None else np.allclose(vector, wanted)
    assert frame(native["text"]).embed().dtype == pl.List(pl.Float32)
    assert frame(native.head(0)).embed("text").schema["embedding"] == pl.List(pl.Float32)
    table = frame(pa.table({"text": TEXTS})).embed("text")
    assert table.schema.field("embedding").type.value_type == pa.float32()
    assert table["embedding"].null_count == 1


def test_frames_with_vectors_can_be_saved(engine: FakeEngine, tmp_path: pathlib.Path) -> None:
    frame(DATA).embed("text").to_parquet(tmp_path / "vectors.parquet")
    back = pd.read_parquet(tmp_path / "vectors.parquet")
    np.testing.assert_allclose(
        np.stack(back["embedding"].dropna()), np.stack([v for v in expected(TEXTS) if v is not None])
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "pooling='max'"),
        ({"pooling": ["last"]}, "pooling="),
        ({"normalize": 1}, "normalize=1"),
        ({"temperature": 0}, "temperature= has no meaning"),
        ({"normalise": True}, "Did you mean 'normalize'"),
        ({"system": "x"}, "no option 'system'"),
    ],
)
def test_what_makes_no_sense_is_refused(engine: FakeEngine, options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        frame(DATA).embed("text", **options)
    with pytest.raises(TemplateError):
        frame(DATA).embed("txt")
    assert engine.calls == []


@pytest.mark.parametrize("pooling", ["last", "cls", "mean"])
def test_vectors_are_those_of_transformers(tmp_path: pathlib.Path, pooling: Any) -> None:
    folder = tiny_model("llama3.2", tmp_path, tokenizer=True)
    texts = ["where is my order?", "the fox jumps", "", "where is my", "fox " * 40, "<assistant> the"]
    pagednb.load(folder, device="cpu", dtype="float32", max_model_len=96, max_num_seqs=2, block_size=8)
    try:
        with pytest.warns(RowErrorsWarning, match="the first is row 2: The prompt is empty"):
            column = frame(pd.Series(texts)).embed(pooling=pooling, normalize=False, progress=False)
    finally:
        pagednb.unload()
        accessor.unregister()
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(texts, column, strict=True):
        if not text:
            assert vector is None
            continue
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        pooled = {"mean": hidden.mean(dim=0), "last": hidden[-1], "cls": hidden[0]}[pooling]
        np.testing.assert_allclose(vector, pooled.numpy(), atol=3e-4)

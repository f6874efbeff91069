"""Runs of ``classify`` and its like: kept answers, checkpoints, jobs, and rows that failed."""

from __future__ import annotations

import asyncio
import json
import pathlib
import threading
from typing import Any

import pandas as pd
import pytest
from support.fake_engine import FakeEngine
from support.tickets import LABELS, TICKETS

from pagednb.dataframe.accessor import frame
from pagednb.dataframe.run.job import Job
from pagednb.errors import CheckpointError, RowErrors, RowErrorsWarning


def test_the_same_cell_again_costs_nothing(engine: FakeEngine, tmp_path: pathlib.Path) -> None:
    options: dict[str, Any] = {"labels": ["ab", "a", "b"], "probs": True}
    first = frame(TICKETS).classify("text", **options)
    again = frame(TICKETS).classify("text", **options)
    assert again.attrs["pagednb"]["computed"] == 0
    pd.testing.assert_frame_equal(first, again)
    other = frame(TICKETS).classify("text", labels=["ab", "b", "a"])
    assert other.attrs["pagednb"]["computed"] == 2
    json.dumps(first.attrs)


def test_a_checkpoint_goes_on_and_knows_its_labels(engine: FakeEngine, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("pyarrow")
    options: dict[str, Any] = {"labels": ["ab", "a", "b"], "multi": False, "cache": False, "checkpoint": tmp_path}
    first = frame(TICKETS).classify("text", sample=1, **options)
    assert first["label"].notna().sum() == 1
    full = frame(TICKETS).classify("text", **options)
    assert full.attrs["pagednb"]["resumed"] == 1
    assert full["label"].notna().tolist() == [True, True, False, True]
    again = frame(TICKETS).classify("text", probs=True, **options)
    assert again.attrs["pagednb"]["computed"] == 0
    with pytest.raises(CheckpointError, match="labels"):
        frame(TICKETS).classify("text", **{**options, "labels": ["ab", "c"]})


def test_jobs_and_awaitables(engine: FakeEngine) -> None:
    expected = frame(TICKETS).classify("text", labels=LABELS)
    job = frame(TICKETS).classify("text", labels=LABELS, background=True, cache=False)
    assert isinstance(job, Job)
    assert job.partial()["label"].cat.categories.tolist() == LABELS
    assert job.result()["label"].tolist()[:2] == expected["label"].tolist()[:2]

    async def ask() -> list[Any]:
        verbs = frame(TICKETS)
        runs = (verbs.aclassify("text", labels=LABELS), verbs.afilter("{text}?"), verbs.ascore("text", scale=(1, 3)))
        return list(await asyncio.gather(*runs))

    labels, kept, scores = asyncio.run(ask())
    assert labels["label"].equals(expected["label"])
    assert "keep" in kept and "score" in scores


def test_failed_rows_can_be_retried(engine: FakeEngine) -> None:
    engine.resolved.max_model_len = engine.geometry.max_model_len = 200
    data = pd.DataFrame({"text": ["late", "x" * 300, "broken"]}, index=[0, 0, 1])
    for options in ({"probs": True}, {"multi": True}):
        engine.resolved.max_model_len = engine.geometry.max_model_len = 200
        with pytest.warns(RowErrorsWarning, match="1 of 3 rows failed"):
            before = frame(data).classify("text", labels=LABELS, into="team", **options)  # type: ignore[arg-type]
        engine.resolved.max_model_len = engine.geometry.max_model_len = 2000
        after = frame(before).retry("team")
        whole = frame(data).classify("text", labels=LABELS, into="team", cache=False, **options)  # type: ignore[arg-type]
        pd.testing.assert_frame_equal(after, whole)


def test_an_aborted_request_fails_its_row_alone(engine: FakeEngine) -> None:
    engine.abort_share = 1.0
    with pytest.warns(RowErrorsWarning, match="3 of 4 rows failed"):
        result = frame(TICKETS).classify("text", labels=["ab", "a"])
    assert result["label"].isna().all() and result["label"].cat.categories.tolist() == ["ab", "a"]
    with pytest.raises(RowErrors):
        frame(TICKETS).filter("text", errors="raise", into="other")


def test_calibration_runs_with_the_rows_and_costs_nothing_the_second_time(engine: FakeEngine) -> None:
    options: dict[str, Any] = {"labels": LABELS, "calibrate": "contextual"}
    caller, threads = threading.current_thread(), []
    engine.on_submit = lambda: threads.append(threading.current_thread())
    first = frame(TICKETS).classify("text", **options, background=True).result(10)
    assert len(engine.calls) == 2 and caller not in threads
    again = frame(TICKETS).classify("text", **options)
    pd.testing.assert_frame_equal(first, again)
    assert sum(len(call.submitted) for call in engine.calls) == 5  # three prompts without content, two rows
    empty = frame(TICKETS.iloc[:0]).classify("text", **{**options, "labels": ["x", "y"]})
    assert empty["label"].cat.categories.tolist() == ["x", "y"]
    assert sum(len(call.submitted) for call in engine.calls) == 5

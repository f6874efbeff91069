"""Runs that remember: caches, checkpoints, truncation, interrupts and jobs, on a fake engine that counts its work."""

from __future__ import annotations

import asyncio
import pathlib
import threading
import time
import warnings

import pandas as pd
import pytest
from support.fake_engine import FakeEngine, reverse

from pagednb.dataframe.accessor import frame
from pagednb.dataframe.kept.cache_file import CacheFile
from pagednb.dataframe.kept.checkpoint import Checkpoint
from pagednb.dataframe.results.last_run import last_run
from pagednb.dataframe.run.job import Job
from pagednb.errors import (
    CheckpointError,
    ContextLengthError,
    OptionError,
    RequestCancelledError,
    RowErrors,
    RowErrorsWarning,
)

TEXTS = [f"ticket {number % 40}" for number in range(100)]
EXPECTED = [reverse(text) for text in TEXTS]


def tickets(texts: list[str] = TEXTS) -> pd.DataFrame:
    return pd.DataFrame({"text": texts}, index=[7] * len(texts))


def num_computed(engine: FakeEngine) -> int:
    return sum(len(call.submitted) for call in engine.calls)


def assert_set(event: threading.Event) -> None:
    assert event.wait(10)


def interrupt_after(engine: FakeEngine, num_polls: int) -> None:
    """Interrupt the next run at one of its polls."""
    left = [num_polls]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    engine.on_poll = count


def test_the_same_cell_again_costs_nothing(engine: FakeEngine) -> None:
    first = frame(tickets()).generate("text", temperature=0)
    again = frame(tickets()).generate("text", temperature=0)
    assert first["generated"].tolist() == again["generated"].tolist() == EXPECTED
    assert num_computed(engine) == 40
    counts = [
        [result.attrs["pagednb"][name] for name in ("computed", "reused", "duplicates")] for result in (first, again)
    ]
    assert counts == [[40, 0, 60], [0, 40, 60]]


@pytest.mark.parametrize(
    "changed", [{"cache": False}, {"max_tokens": 50}, {"system": "Be brief."}, {"stop": "x"}, {"temperature": 1.0}]
)
def test_another_question_is_computed(changed: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    from pagednb import runtime

    engine = FakeEngine(has_chat_template=True)
    monkeypatch.setattr(runtime, "get_engine", lambda: engine)
    monkeypatch.setattr(runtime._RUNTIME, "name_to_kept", {})
    few = tickets(TEXTS[:10])
    frame(few).generate("text", temperature=0, progress=False)
    again = frame(few).generate("text", **{"temperature": 0, "progress": False, **changed})
    assert again.attrs["pagednb"]["computed"] == 10
    engine.resolved.identity = "another model"
    again = frame(few).generate("text", temperature=0, progress=False)
    assert again.attrs["pagednb"]["computed"] == 10


def test_sampled_answers_are_not_reused(engine: FakeEngine) -> None:
    for _ in range(2):
        result = frame(tickets()).generate("text", temperature=1.0)
        assert result.attrs["pagednb"]["computed"] == 100
    for _ in range(2):
        result = frame(tickets()).generate("text", temperature=1.0, seed=3)
    assert result.attrs["pagednb"]["reused"] == 40


def test_a_cache_file_serves_the_next_kernel(engine: FakeEngine, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "labels.cache"
    interrupt_after(engine, 2)
    with pytest.raises(KeyboardInterrupt):
        frame(tickets()).generate("text", temperature=0, cache=path)
    engine.on_poll = lambda: None
    before = num_computed(engine)
    with path.open("ab") as file:
        file.write(b"\x00half a record")
    with pytest.warns(UserWarning, match="skipped"):
        result = frame(tickets()).generate("text", temperature=0, cache=str(path))
    figures = result.attrs["pagednb"]
    assert result["generated"].tolist() == EXPECTED
    assert figures["reused"] > 0
    assert figures["computed"] + figures["reused"] == 40
    assert num_computed(engine) - before == figures["computed"]


def test_an_interrupted_wait_says_that_the_job_goes_on(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    may_go_on = threading.Event()
    engine.on_poll = lambda: assert_set(may_go_on)
    job = frame(tickets()).generate("text", temperature=0, background=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as caught:
        patch.setattr("pagednb.dataframe.run.job.concurrent.futures.wait", interrupt)
        job.result()
    assert "the job goes on. job.cancel() ends it" in caught.value._render_traceback_()[0]  # type: ignore[attr-defined]
    assert not job.is_done
    may_go_on.set()
    assert job.result(10)["generated"].tolist() == EXPECTED


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_interrupted_checkpoint_goes_on(engine: FakeEngine, tmp_path: pathlib.Path, temperature: float) -> None:
    pytest.importorskip("pyarrow")
    options = {"temperature": temperature, "cache": False, "checkpoint": tmp_path / "run"}
    interrupt_after(engine, 2)
    with pytest.raises(KeyboardInterrupt) as caught:
        frame(tickets()).generate("text", **options)
    engine.on_poll = lambda: None
    partial = last_run().frame
    num_done = int(partial["generated"].notna().sum())
    assert caught.value.__notes__ == [f"{num_done}/100 done, run the cell again to resume."]
    assert 0 < num_done < 100
    done = partial["generated"].notna().tolist()
    assert [text for text, is_done in zip(partial["generated"], done, strict=True) if is_done] == [
        text for text, is_done in zip(EXPECTED, done, strict=True) if is_done
    ]
    assert last_run().spec["template"] == "text"
    shuffled = tickets(TEXTS[::-1])  # rows are found by their prompt
    result = frame(shuffled).generate("text", **options)
    figures = result.attrs["pagednb"]
    assert result["generated"].tolist() == EXPECTED[::-1]
    assert figures["resumed"] > 0
    assert figures["resumed"] + figures["computed"] + figures["duplicates"] == 100
    assert frame(tickets()).generate("text", **options).attrs["pagednb"]["computed"] == 0


def test_failed_rows_are_computed_again(engine: FakeEngine, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("pyarrow")
    texts = ["good", "x" * 3000, "fine"]
    with pytest.warns(RowErrorsWarning):
        frame(tickets(texts)).generate("text", temperature=0, cache=False, checkpoint=tmp_path)
    engine.resolved.max_model_len = 5000
    result = frame(tickets(texts)).generate("text", temperature=0, cache=False, checkpoint=tmp_path, max_tokens=256)
    assert result["generated"].notna().all()
    assert result.attrs["pagednb"]["computed"] == 1


def test_another_run_may_not_write_here(engine: FakeEngine, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("pyarrow")
    frame(tickets()).generate("text", temperature=0, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match=r"template: was 'text', is 'say \{text\}'"):
        frame(tickets()).generate("say {text}", temperature=0, checkpoint=tmp_path)
    engine.resolved.dtype = "bfloat16"
    with pytest.raises(CheckpointError, match="dtype: was 'float32', is 'bfloat16'"):
        frame(tickets()).generate("text", temperature=0, checkpoint=Checkpoint(tmp_path, every_rows=5))


@pytest.mark.parametrize(("side", "expected"), [("left", "…"), ("right", "0"), ("middle", "0")])
def test_long_rows_are_cut_in_their_values(engine: FakeEngine, side: str, expected: str) -> None:
    long = "".join(f"{number} " for number in range(1000))
    data = pd.DataFrame({"text": ["short", long], "other": ["a", "b"]})
    result = frame(data).generate("Team of {text} and {other}?", temperature=0, max_tokens=1000, truncate=side)
    prompt = reverse(result["generated"].iloc[1])
    assert prompt.startswith(f"Team of {expected}") and prompt.endswith(" and b?") and prompt.count("…") == 1
    assert 990 < len(prompt.encode()) <= 1000  # half of the model's context: the rest is the answer's
    assert result["generated"].iloc[0] == reverse("Team of short and a?")
    assert result.attrs["pagednb"]["truncated"] == 1
    with pytest.raises(RowErrors):
        frame(data).generate("Team of {text} and {other}?", errors="raise")


def test_a_template_too_long_is_an_error_not_a_cut(engine: FakeEngine) -> None:
    with pytest.raises(ContextLengthError, match="2,500 tokens"):
        frame(tickets(["a", "b"])).generate("y" * 2500 + "{text}", truncate="right")


def test_a_job_runs_beside_its_cell(engine: FakeEngine) -> None:
    gate = threading.Event()
    engine.on_poll = lambda: gate.wait(5)
    job = frame(tickets()).generate("text", temperature=0, background=True)
    assert isinstance(job, Job) and not job.is_done and "running" in repr(job)
    assert job.partial()["generated"].isna().all()
    with pytest.raises(TimeoutError):
        job.result(timeout=0.05)
    gate.set()
    result = job.result(timeout=20)
    assert result["generated"].tolist() == EXPECTED
    assert job.result() is result
    assert job.progress.rows_done == 100
    assert repr(job) == "<pagednb Job: 100/100 rows, done>"
    assert no_threads_left()


def test_a_cancelled_job_keeps_its_rows_and_says_so(engine: FakeEngine) -> None:
    engine.max_per_poll = 3
    engine.on_poll = lambda: time.sleep(0.005)
    job = frame(tickets()).generate("text", temperature=0, background=True)
    while not 5 < job.progress.rows_done < 80:
        time.sleep(0.001)
    assert job.cancel()
    assert not job.cancel()
    with pytest.raises(RequestCancelledError, match="/100 rows were done"):
        job.result()
    assert 5 < job.partial()["generated"].notna().sum() < 100
    assert engine.calls[0].is_open is False and engine.calls[0].num_aborted > 0
    assert "cancelled" in repr(job) and no_threads_left()
    engine.on_poll = lambda: None
    assert frame(tickets()).generate("text", temperature=0).attrs["pagednb"]["reused"] > 0


def test_warnings_come_where_the_result_is_asked_for(engine: FakeEngine) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        job = frame(tickets(["a", ""])).generate("text", background=True)
        while not job.is_done:
            time.sleep(0.01)
        job.partial()
    with pytest.warns(RowErrorsWarning) as caught:
        job.result()
    assert caught[0].filename == __file__
    with pytest.raises(OptionError, match="background"):
        frame(tickets()).generate("text", background=True, progress=True)


def test_awaitables_give_the_same_and_let_others_run(engine: FakeEngine) -> None:
    engine.on_poll = lambda: time.sleep(0.002)

    async def both() -> list[pd.DataFrame]:
        runs = [frame(tickets()).agenerate("text", temperature=0, cache=False) for _ in range(2)]
        return list(await asyncio.gather(*runs))

    for result in asyncio.run(both()):
        assert result["generated"].tolist() == EXPECTED
    job = frame(tickets()).generate("text", background=True)

    async def wait() -> pd.DataFrame:
        return await job

    assert asyncio.run(wait())["generated"].tolist() == EXPECTED
    assert no_threads_left()


def test_a_cancelled_task_cancels_its_run(engine: FakeEngine) -> None:
    engine.max_per_poll = 1
    engine.on_poll = lambda: time.sleep(0.01)

    async def give_up() -> None:
        await asyncio.wait_for(frame(tickets()).agenerate("text", temperature=0), timeout=0.15)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert engine.calls[0].num_aborted > 0
    assert 0 < last_run().frame["generated"].notna().sum() < 100
    assert no_threads_left()


def test_an_interrupted_await_says_how_far_it_came(engine: FakeEngine) -> None:
    """ipykernel cancels the task of an awaited cell: the cell sees CancelledError."""
    engine.max_per_poll = 1
    engine.on_poll = lambda: time.sleep(0.01)

    async def interrupted() -> asyncio.CancelledError:
        task = asyncio.ensure_future(frame(tickets()).agenerate("text", temperature=0))
        await asyncio.sleep(0.15)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value

    [shown] = asyncio.run(interrupted())._render_traceback_()  # type: ignore[attr-defined]
    done = last_run().frame["generated"].notna().sum()
    assert shown.startswith(f"CancelledError: {done}/100 done; pagednb.last_run().frame")


@pytest.mark.parametrize("bad", [{"truncate": "end"}, {"cache": 3}, {"checkpoint": 3}, {"background": "yes"}])
def test_bad_options_are_refused(engine: FakeEngine, bad: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(bad))):
        frame(tickets()).generate("text", **bad)
    assert engine.calls == []


@pytest.mark.usefixtures("engine")
def test_before_any_run() -> None:
    with pytest.raises(OptionError, match="Nothing was run"):
        last_run()


def no_threads_left() -> bool:
    deadline_s = time.monotonic() + 5
    while any(thread.name == "pagednb job" for thread in threading.enumerate()):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("is_in_background", [False, True])
def test_a_disk_that_is_full_ends_the_checkpoint_and_not_the_run(
    engine: FakeEngine, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, is_in_background: bool
) -> None:
    def full(path: pathlib.Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    verbs = frame(tickets())
    options = {"checkpoint": Checkpoint(tmp_path, every_rows=10), "background": is_in_background, "cache": False}
    monkeypatch.setattr("pagednb.dataframe.kept.checkpoint.write_atomically", full)
    with pytest.warns(UserWarning, match="checkpoint could not be written any more.*No space left") as caught:
        result = verbs.generate("text", **options)
        result = result.result() if is_in_background else result
    assert result["generated"].tolist() == EXPECTED
    assert len(caught) == 1 and caught[0].filename == __file__


def test_a_cache_that_cannot_be_written_costs_no_row(
    engine: FakeEngine, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(cache: CacheFile, key: bytes, answer: bytes) -> None:
        raise OSError("full")

    monkeypatch.setattr(CacheFile, "put", full)
    with pytest.warns(UserWarning, match="cache could not be written any more: full"):
        result = frame(tickets()).generate("text", temperature=0, cache=tmp_path / "x.cache")
    assert result["generated"].tolist() == EXPECTED


@pytest.mark.parametrize(
    ("verb", "first", "second"),
    [
        ("classify", {"labels": ["a", "b"]}, {"labels": {"a": "good", "b": None}}),
        ("agg", {"by": "team"}, {"by": None}),
    ],
)
def test_a_checkpoint_knows_the_words_of_the_verb(
    verb: str, first: dict[str, object], second: dict[str, object], engine: FakeEngine, tmp_path: pathlib.Path
) -> None:
    few = tickets(TEXTS[:3]).assign(team=["a", "b", "a"])
    getattr(frame(few), verb)("Sort: {text}", checkpoint=tmp_path, **first)
    with pytest.raises(CheckpointError, match="belongs to another run"):
        getattr(frame(few), verb)("Sort: {text}", checkpoint=tmp_path, **second)


def test_what_others_left_in_a_checkpoint_is_told_at_the_call_and_costs_no_row(
    engine: FakeEngine, tmp_path: pathlib.Path
) -> None:
    data = tickets(["a", "b"])
    frame(data).generate("text", checkpoint=tmp_path)
    [part] = tmp_path.glob("part-*.parquet")
    pd.read_parquet(part).assign(answer=["{}", '[[{"index":0}]]']).to_parquet(part)
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "part-foreign.parquet")
    with pytest.warns(UserWarning, match="broken") as caught:
        result = frame(data).generate("text", checkpoint=tmp_path, cache=False)
    assert [(warning.filename, str(warning.message).count("\n")) for warning in caught] == [(__file__, 0)]
    assert result["generated"].tolist() == ["a", "b"] and result.attrs["pagednb"]["computed"] == 2


def test_a_torn_cache_is_told_at_the_call(engine: FakeEngine, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "answers.cache"
    frame(tickets(["a", "b"])).generate("text", cache=path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.warns(UserWarning, match="unfinished") as caught:
        frame(tickets(["a", "b"])).generate("text", cache=path)
    assert [warning.filename for warning in caught] == [__file__]

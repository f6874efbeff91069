"""``agg`` on a fake engine whose answers say what they read: every row once, and no call too long."""

from __future__ import annotations

import asyncio
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.listening_engine import HEAD, TAIL, TEMPLATE, ListeningEngine, prompts_of, rows, use_fake

from pagednb import SamplingParams
from pagednb.dataframe.accessor import frame
from pagednb.dataframe.aggregation.prompt import NOTE
from pagednb.dataframe.aggregation.reduction import packed
from pagednb.dataframe.results.figures import RunFigures
from pagednb.dataframe.results.last_run import last_run
from pagednb.dataframe.run.job import Job
from pagednb.dataframe.run.progress import ProgressOption
from pagednb.errors import NotSupportedYetError, OptionError, RowErrors, RowErrorsWarning, TemplateError

LISTS = pd.Series([["a"]], dtype=pd.ArrowDtype(pa.list_(pa.string())))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ListeningEngine:
    return use_fake(monkeypatch)


def test_rows_that_fit_make_one_call(engine: ListeningEngine) -> None:
    assert frame(rows(5)).agg(TEMPLATE) == "<0-4>"
    assert prompts_of(engine) == [[HEAD + "<0>\n\n<1>\n\n<2>\n\n<3>\n\n<4>" + TAIL]]
    assert frame(rows(2)["text"]).agg("Say: {}", separator=" | ") == "<0-1>"
    assert prompts_of(engine)[1] == ["Say: <0> | <1>"]


def test_more_rows_make_a_tree_and_each_is_read_once(engine: ListeningEngine) -> None:
    result = frame(rows(300, padding=30)).agg(TEMPLATE, token_budget=400, max_tokens=40)
    assert result == "<0-299>"
    rounds = prompts_of(engine)
    assert len(rounds) >= 3 and len(rounds[-1]) == 1
    assert all(len(prompt.encode()) <= 400 for prompts in rounds for prompt in prompts)
    assert all(NOTE not in prompt for prompt in rounds[0])
    assert all(prompt.startswith(HEAD + NOTE) and prompt.endswith(TAIL) for each in rounds[1:] for prompt in each)
    figures = last_run().figures
    assert (figures.rows, figures.rows_done, figures.failed) == (300, 300, 0)
    assert figures.computed == figures.finished == sum(map(len, rounds))


def test_one_row_is_asked_about_too(engine: ListeningEngine) -> None:
    assert frame(rows(1)).agg(TEMPLATE) == "<0>"
    assert prompts_of(engine) == [[HEAD + "<0>" + TAIL]]


def test_a_row_that_is_too_long_fails_its_group_and_no_other(engine: ListeningEngine) -> None:
    data = rows(6)
    data.iloc[1, 0] = "<1>" + "x" * 500
    with pytest.warns(
        RowErrorsWarning, match=r"1 of 3 groups failed; the first is group 1: Row 1 has 504 tokens"
    ) as said:
        result = frame(data).agg(TEMPLATE, by="team", token_budget=100, max_tokens=20)
    assert len(said) == 1 and said[0].filename == __file__
    assert result.isna().tolist() == [False, True, False]
    assert result["t0"] == "<0><3>"
    assert result.attrs["pagednb"]["failures"][0]["row"] == 1
    with pytest.raises(RowErrors, match="Row 1 has 504") as raised:
        frame(data).agg(TEMPLATE, by="team", token_budget=100, max_tokens=20, errors="raise")
    assert raised.value.frame.index.tolist() == ["t1"]
    with pytest.warns(RowErrorsWarning, match="1 of 1 groups failed"):
        assert pd.isna(frame(data).agg(TEMPLATE, token_budget=100, max_tokens=20))


@pytest.mark.parametrize("side", ["left", "right", "middle"])
def test_truncate_cuts_the_row_and_says_so(engine: ListeningEngine, side: str) -> None:
    data = rows(3)
    data.iloc[1, 0] = "Y" * 300 + "<1>" + "X" * 300
    frame(data).agg(TEMPLATE, token_budget=220, max_tokens=20, truncate=side)
    assert last_run().figures.truncated == 1
    prompts = [prompt for each in prompts_of(engine) for prompt in each]
    assert max(len(prompt.encode()) for prompt in prompts) <= 220
    [cut] = [prompt for prompt in prompts if "…" in prompt]
    assert ("X" in cut, "Y" in cut) == {"left": (True, False), "right": (False, True), "middle": (True, True)}[side]


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"bytes", "holds bytes"), ("\ud800", "lone surrogate"), ("x", "Row 1 cannot be read: .*AttributeError")],
)
def test_a_row_that_cannot_be_read_fails_its_group(engine: ListeningEngine, value: object, reason: str) -> None:
    data = rows(4).astype(object)
    data["text"] = [value if number == 1 else number for number in range(4)]
    with pytest.warns(RowErrorsWarning, match=reason):
        result = frame(data).agg(HEAD + ("{text.real}" if value == "x" else "{text}"), by="team")
    assert result.isna().tolist() == [False, True, False]


def test_empty_texts_are_rows(engine: ListeningEngine) -> None:
    data = pd.DataFrame({"text": ["", " ", "<2>"]})
    assert frame(data).agg(TEMPLATE) == "<2>"
    assert prompts_of(engine) == [[HEAD + "\n\n \n\n<2>" + TAIL]]


def test_answers_too_long_to_be_combined_fail_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = use_fake(monkeypatch)
    with pytest.raises(OptionError, match="two answers of up to 60 tokens do not fit"):
        frame(rows(30, padding=20)).agg(TEMPLATE, token_budget=200, max_tokens=60)
    assert engine.calls == []
    # a cut inside a character: its replacement is longer than what the model wrote
    engine.think = lambda prompt: "é" * 30
    budget = len(HEAD + NOTE + TAIL) + 113  # room for two answers of 51 tokens, and not for two of 53
    with pytest.warns(RowErrorsWarning, match="Of its 6 partial answers no two fit"):
        frame(rows(16, padding=60)).agg(TEMPLATE, token_budget=budget, max_tokens=51)


def test_a_failed_call_fails_its_group(engine: ListeningEngine) -> None:
    data = rows(30)
    data.loc[data["team"] == "t1", "text"] += "." * 30
    engine.resolved.max_model_len = 260  # what the engine holds is less than it says
    with pytest.warns(RowErrorsWarning, match="A part of it failed: The prompt has 2"):
        result = frame(data).agg(TEMPLATE, by="team", token_budget=300, max_tokens=60)
    assert result.isna().tolist() == [False, True, False]


def test_combine_has_words_of_its_own(engine: ListeningEngine) -> None:
    assert (
        frame(rows(60, padding=30)).agg(TEMPLATE, combine="Merge: {answers}!", token_budget=300, max_tokens=40)
        == "<0-59>"
    )
    assert all(p.startswith("Merge: <") and p.endswith(">!") for p in prompts_of(engine)[1])


def test_the_same_cell_again_costs_nothing_and_a_longer_frame_little(engine: ListeningEngine) -> None:
    options = {"token_budget": 300, "max_tokens": 40}
    first = frame(rows(60, padding=30)).agg(TEMPLATE, **options)
    num_calls = last_run().figures.computed
    assert frame(rows(60, padding=30)).agg(TEMPLATE, **options) == first
    assert (last_run().figures.computed, last_run().figures.reused) == (0, num_calls)
    assert frame(rows(61, padding=30)).agg(TEMPLATE, **options) == "<0-60>"
    assert last_run().figures.computed <= 3


def test_a_checkpoint_resumes_all_rounds(engine: ListeningEngine, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("pyarrow")
    options = {"token_budget": 300, "max_tokens": 40, "checkpoint": tmp_path / "run", "cache": False}
    first = frame(rows(60, padding=30)).agg(TEMPLATE, **options)
    num_calls = last_run().figures.computed
    assert frame(rows(60, padding=30)).agg(TEMPLATE, **options) == first
    assert (last_run().figures.computed, last_run().figures.resumed) == (0, num_calls)


def test_jobs_and_awaitables(engine: ListeningEngine) -> None:
    job = frame(rows(60, padding=30)).agg(TEMPLATE, by="team", token_budget=300, max_tokens=60, background=True)
    assert isinstance(job, Job)
    assert job.partial().index.tolist() == ["t0", "t1", "t2"]
    assert job.result().notna().all()
    assert job.progress.rows_done == 60
    assert asyncio.run(frame(rows(3)).aagg(TEMPLATE)) == "<0-2>"


def test_progress_counts_rows_up_to_the_end(engine: ListeningEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagednb.dataframe.run.progress.MIN_INTERVAL_S", 0.0)
    seen: list[tuple[int, int]] = []
    progress: ProgressOption = lambda figures: seen.append((figures.rows_done, figures.rows))  # noqa: E731
    frame(rows(100, padding=30)).agg(TEMPLATE, token_budget=300, max_tokens=40, progress=progress)
    assert seen == sorted(seen) and {total for _, total in seen} == {100}
    assert seen[-1] == (100, 100) and len({done for done, _ in seen}) > 2


def test_the_time_to_go_is_that_of_calls_not_of_rows(engine: ListeningEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagednb.dataframe.run.progress.MIN_INTERVAL_S", 0.0)
    engine.max_per_poll = 1
    shares: list[float] = []

    def progress(figures: RunFigures) -> None:
        if figures.finished and figures.rows_done < 60 and figures.eta_s is not None:
            shares.append(figures.eta_s / figures.seconds / ((100 - figures.rows_done) / figures.rows_done))

    frame(rows(100, padding=30)).agg(TEMPLATE, token_budget=300, max_tokens=40, progress=progress)
    assert len(shares) > 3
    assert all(0.5 < share < 2 for share in shares), shares


def test_an_interrupt_leaves_the_finished_groups(engine: ListeningEngine) -> None:
    data = rows(90, padding=30).assign(team=["a"] + ["b"] * 89)

    def interrupt() -> None:
        if len(engine.calls) == 2:
            raise KeyboardInterrupt

    engine.on_poll = interrupt
    with pytest.raises(KeyboardInterrupt) as caught:
        frame(data).agg(TEMPLATE, by="team", token_budget=300, max_tokens=40)
    assert "calls of this round done, run the cell again to resume" in caught.value.__notes__[0]
    assert last_run().frame.isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"template": "text"}, TemplateError, "not told what to make"),
        ({"template": "{text}"}, TemplateError, "not told what to make"),
        ({"template": "Say: {txt}"}, TemplateError, "txt"),
        ({"template": "Say: {team}", "by": "team"}, TemplateError, "nothing differs"),
        ({"by": "taem"}, OptionError, "Did you mean 'team'"),
        ({"by": [1, 2]}, OptionError, "cannot group"),
        ({"by": []}, OptionError, "cannot group"),
        ({"by": 3.5}, OptionError, "cannot group"),
        ({"by": LISTS}, OptionError, "cannot group the rows: ArrowNotImplementedError"),
        ({"by": lambda label: [label]}, OptionError, "cannot group the rows: TypeError"),
        ({"by": lambda label: {}[label]}, OptionError, "cannot group the rows: KeyError"),
        ({"by": lambda label: (1,)[label]}, OptionError, "cannot group the rows: IndexError"),
        ({"by": lambda label: label.team}, OptionError, "cannot group the rows: AttributeError"),
        ({"by": pd.Grouper(level=0)}, NotSupportedYetError, "Grouper"),
        ({"by": ["team", pd.Grouper(level=0)]}, NotSupportedYetError, "Grouper"),
        ({"separator": None}, OptionError, "separator=None"),
        ({"combine": 3}, OptionError, "combine=3"),
        ({"combine": "Merge"}, TemplateError, "no field"),
        ({"token_budget": 0}, OptionError, "token_budget=0"),
        ({"token_budget": 1e3}, OptionError, r"token_budget=1000\.0"),
        ({"token_budget": True}, OptionError, "token_budget=True"),
        ({"token_budget": 10**6}, OptionError, "up to 1744"),
        ({"errors": "ignore"}, OptionError, "errors="),
        ({"truncate": "top"}, OptionError, "truncate="),
        ({"system": 3}, OptionError, "system=3"),
        ({"system": "Be brief."}, OptionError, "no chat template"),
        ({"into": ""}, OptionError, "into="),
        ({"token_buget": 10}, OptionError, "token_budget"),
        ({"n": 2}, NotSupportedYetError, "n=2"),
        ({"sampling_params": SamplingParams(max_tokens=None)}, OptionError, "max_tokens is None"),
    ],
)
def test_mistakes_are_refused_before_any_call(
    engine: ListeningEngine, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        frame(rows(5)).agg(**{"template": TEMPLATE, **options})
    assert engine.calls == []


def test_frames_of_other_libraries_have_one_answer(engine: ListeningEngine) -> None:
    polars = pytest.importorskip("polars")
    data = polars.DataFrame({"text": ["<0>", None, "<2>"], "team": ["a", "b", "a"]})
    assert frame(data).agg(TEMPLATE) == "<0><2>"
    assert frame(data["text"]).agg("All: {}") == "<0><2>"
    assert asyncio.run(frame(data).aagg(TEMPLATE)) == "<0><2>"
    for each in (frame(data), frame(data["text"])):
        with pytest.raises(NotSupportedYetError, match="by="):
            each.agg("All: {}", by="team")


@given(st.lists(st.integers(1, 30), min_size=1, max_size=80), st.integers(1, 40))
def test_packs_hold_what_fits(sizes: list[int], room: int) -> None:
    packs = packed(np.array(sizes), room)
    assert [size for pack in packs for size in sizes[pack]] == sizes
    for pack, following in zip(packs, [*packs[1:], None], strict=True):
        assert sum(sizes[pack]) <= room or len(sizes[pack]) == 1
        assert following is None or sum(sizes[pack]) + sizes[following.start] > room

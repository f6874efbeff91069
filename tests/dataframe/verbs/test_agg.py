"""``agg`` on a fake engine whose answers say what they read: every row once, and no call too long."""

from __future__ import annotations

import asyncio
import pathlib
import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_engine import FakeEngine

from pagednb import SamplingParams, runtime
from pagednb.dataframe.accessor import frame
from pagednb.dataframe.aggregation.prompt import NOTE
from pagednb.dataframe.aggregation.reduction import packed
from pagednb.dataframe.results.figures import RunFigures
from pagednb.dataframe.results.last_run import last_run
from pagednb.dataframe.run.job import Job
from pagednb.dataframe.run.progress import ProgressOption
from pagednb.errors import NotSupportedYetError, OptionError, RowErrors, RowErrorsWarning, TemplateError

LISTS = pd.Series([["a"]], dtype=pd.ArrowDtype(pa.list_(pa.string())))
HEAD, TAIL = "List these: ", " Be exact."
TEMPLATE = HEAD + "{text}" + TAIL


def numbers_in(prompt: str) -> str:
    """An answer that names all rows that its prompt is about, as ranges such as <3> or <5-9>."""
    numbers = sorted(
        number
        for first, last in re.findall(r"<(\d+)(?:-(\d+))?>", prompt)
        for number in range(int(first), int(last or first) + 1)
    )
    assert len(set(numbers)) == len(numbers), f"read twice: {prompt}"
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return "".join(f"<{a}-{b}>" if a < b else f"<{a}>" for a, b in ranges)


class ListeningEngine(FakeEngine):
    """Answers with the rows it was asked about, and keeps the prompts of each round."""

    def __init__(self, **options: Any) -> None:
        super().__init__(answer=self._listen, **options)
        self.think = numbers_in
        self.rounds: dict[int, list[str]] = {}

    def _listen(self, prompt: str) -> str:
        self.rounds.setdefault(len(self.calls) - 1, []).append(prompt)
        return self.think(prompt)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ListeningEngine:
    return use_fake(monkeypatch)


def use_fake(monkeypatch: pytest.MonkeyPatch, **options: Any) -> ListeningEngine:
    engine = ListeningEngine(**options)
    monkeypatch.setattr(runtime._RUNTIME, "name_to_kept", {})
    monkeypatch.setattr(runtime, "get_engine", lambda: engine)
    monkeypatch.setenv("PAGEDNB_PROGRESS", "0")
    return engine


def rows(num_rows: int, padding: int = 0) -> pd.DataFrame:
    texts = [f"<{number}>" + "." * padding for number in range(num_rows)]
    return pd.DataFrame({"text": texts, "team": [f"t{number % 3}" for number in range(num_rows)]}, index=[7] * num_rows)


def prompts_of(engine: ListeningEngine) -> list[list[str]]:
    """The prompts of each round."""
    return [engine.rounds.get(number, []) for number in range(len(engine.calls))]


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


def test_groups_are_answered_apart_and_in_order(engine: ListeningEngine) -> None:
    data = rows(40, padding=20).assign(team=[f"t{2 - number % 3}" for number in range(40)])
    result = frame(data).agg(TEMPLATE, by="team", token_budget=290, max_tokens=60)
    assert max(map(len, prompts_of(engine))) > 3
    assert result.index.tolist() == ["t0", "t1", "t2"] and result.index.name == "team"
    assert result.name == "aggregated"
    for team, answer in result.items():
        expected = [number for number in range(40) if data["team"].iloc[number] == team]
        assert answer == "".join(f"<{number}>" for number in expected)
    assert result.attrs["pagednb"]["failed"] == 0 and result.attrs["pagednb"]["verb"] == "agg"


@given(
    data=st.data(),
    sizes=st.lists(st.integers(0, 60), max_size=60),
    keys=st.lists(st.sampled_from(["a", "b", None, "c"]), min_size=60, max_size=60),
)
@settings(max_examples=40, deadline=None)
def test_random_rows_are_all_read(data: st.DataObject, sizes: list[int], keys: list[str | None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        engine = use_fake(patch, has_chat_template=data.draw(st.booleans()), seed=len(sizes))
        texts = [None if size % 7 == 6 else f"<{number}>" + "é" * (size // 2) for number, size in enumerate(sizes)]
        table = pd.DataFrame({"text": pd.array(texts, dtype="string"), "key": keys[: len(sizes)]})
        budget = data.draw(st.integers(900, 1200))
        result = frame(table).agg(TEMPLATE, by="key", token_budget=budget, max_tokens=200, truncate="error")
        expected = table.groupby("key", dropna=False)["text"].apply(lambda group: "".join(group.dropna()))
        assert result.index.equals(expected.index)
        for answer, text in zip(result, expected, strict=True):
            assert (answer if text else "") == numbers_in(text)
            assert pd.isna(answer) == (text == "")
        assert all(len(prompt.encode()) <= budget for prompts in prompts_of(engine) for prompt in prompts)


def test_columns_of_by_are_the_groups_and_stand_anywhere(engine: ListeningEngine) -> None:
    engine.think = lambda prompt: ""
    data = rows(4).assign(year=[2020, 2020, 2021, 2021], team="x")
    result = frame(data).agg(
        "{team} in {year:d}: {text} ({year}), {text!r} of {team}", by=["team", "year"], into="told"
    )
    assert result.index.names == ["team", "year"] and result.name == "told"
    assert min(prompts_of(engine)[0]) == "x in 2020: <0> (2020), '<0>'\n\n<1> (2020), '<1>' of x"


@pytest.mark.parametrize("by", ["team", ["team"], np.array([1, 0, 1]), [9, 9, 9], lambda label: label])
def test_by_is_what_groupby_takes(engine: ListeningEngine, by: Any) -> None:
    data = rows(3)
    result = frame(data).agg(TEMPLATE, by=by)
    assert result.index.equals(data.groupby(by)["text"].size().index)


@pytest.mark.parametrize(
    "keys",
    [
        [1, "x", 1, None, "x"],
        [True, False, None, True, False],
        [1.5, np.nan, 1.5, np.inf, 2.0],
        pd.Categorical(["q", None, "q", "p", None], categories=["z", "q", "p"]),
        pd.to_datetime(["2020", "2021", None, "2020", None]),
        pd.array([1, None, 1, 2, None], dtype="Int64"),
        pd.arrays.IntervalArray.from_tuples([(0, 1), (0, 1), (1, 2), (1, 2), (0, 1)]),
    ],
    ids=lambda keys: type(keys[0]).__name__,
)
def test_keys_of_any_kind(engine: ListeningEngine, keys: Any) -> None:
    data = rows(5).assign(key=pd.Series(keys, index=rows(5).index))
    result = frame(data).agg(TEMPLATE, by="key")
    expected = [group for _, group in data.groupby("key", dropna=False, observed=True)["text"]]
    assert len(result) == len(expected) == data["key"].nunique(dropna=False)
    for answer, group in zip(result, expected, strict=True):
        assert answer == numbers_in("".join(group))


def test_multiindexes_and_series(engine: ListeningEngine) -> None:
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 1), ("a", 2)], names=["x", "y"])
    series = pd.Series(["<0>", "<1>", "<2>"], index=index)
    assert frame(series).agg(TEMPLATE.replace("text", ""), by="x").to_dict() == {"a": "<0><2>", "b": "<1>"}
    both = frame(series).agg("All: {}", by=["y", "x"])
    assert both.to_dict() == {(1, "a"): "<0>", (1, "b"): "<1>", (2, "a"): "<2>"}


def test_keys_that_are_missing_make_a_group(engine: ListeningEngine) -> None:
    data = rows(5).assign(team=["b", None, "a", np.nan, "b"])
    result = frame(data).agg(TEMPLATE, by="team")
    assert result.tolist() == ["<2>", "<0><4>", "<1><3>"]
    assert result.index.isna().tolist() == [False, False, True]


def test_groups_without_texts_and_frames_without_rows(engine: ListeningEngine) -> None:
    data = rows(4).assign(team=pd.Categorical(["a", "a", "b", "b"], categories=["c", "b", "a"]))
    data["text"] = ["<0>", None, None, None]
    result = frame(data).agg(TEMPLATE, by="team")
    assert result.index.tolist() == ["b", "a"]
    assert result.isna().tolist() == [True, False] and result["a"] == "<0>"
    assert result.attrs["pagednb"]["missing"] == 3
    empty = frame(data.iloc[:0]).agg(TEMPLATE, by="team")
    assert len(empty) == 0 and empty.name == "aggregated"
    assert pd.isna(frame(data.iloc[:0]).agg(TEMPLATE))
    assert pd.isna(frame(data.iloc[1:]).agg(TEMPLATE))
    assert len(engine.calls) == 1


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
        ({"by": LISTS}, OptionError, "cannot group"),
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
    for rows in (frame(data), frame(data["text"])):
        with pytest.raises(NotSupportedYetError, match="by="):
            rows.agg("All: {}", by="team")


@given(st.lists(st.integers(1, 30), min_size=1, max_size=80), st.integers(1, 40))
def test_packs_hold_what_fits(sizes: list[int], room: int) -> None:
    packs = packed(np.array(sizes), room)
    assert [size for pack in packs for size in sizes[pack]] == sizes
    for pack, following in zip(packs, [*packs[1:], None], strict=True):
        assert sum(sizes[pack]) <= room or len(sizes[pack]) == 1
        assert following is None or sum(sizes[pack]) + sizes[following.start] > room

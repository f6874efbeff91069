"""The row job against a fake engine: nothing lost, nothing twice, never more than a window of rows in the engine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_engine import FakeEngine, reverse

from pagednb.dataframe.generation.text_task import GenerateTask
from pagednb.dataframe.prompts.chunks import CHUNK_ROWS
from pagednb.dataframe.prompts.model_prompt import Chat
from pagednb.dataframe.results.figures import RunFigures
from pagednb.dataframe.run.row_job import MIN_PENDING_ROWS, run_rows
from pagednb.errors import OptionError, PagednbError, TemplateError
from pagednb.sampling_params import SamplingParams

GREEDY = GenerateTask(SamplingParams(temperature=0.0, max_tokens=1000))
SAMPLED = GenerateTask(SamplingParams(temperature=1.0, max_tokens=1000))


def rows(*texts: str | PagednbError) -> Iterator[tuple[int, str | PagednbError]]:
    return iter(list(enumerate(texts)))


def test_results_stand_at_their_positions() -> None:
    outcome = run_rows(FakeEngine(), rows("ab", "cd", "ef"), GREEDY, num_rows=3)
    assert outcome.values == ["ba", "dc", "fe"]
    assert outcome.errors == {}
    assert (outcome.figures.computed, outcome.figures.rows_done) == (3, 3)


def test_one_bad_row_spoils_no_other() -> None:
    engine = FakeEngine(max_model_len=50)
    bad = ["", " \n", "x" * 60, "\ud800", TemplateError("broken field")]
    outcome = run_rows(engine, rows("good", *bad, "also good"), GREEDY, num_rows=7)
    assert outcome.values == ["doog", None, None, None, None, None, "doog osla"]
    assert {row: reason.split()[-1] for row, reason in outcome.errors.items()} == {
        1: "empty.",
        2: "empty.",
        3: "model.",
        4: "surrogate).",
        5: "field",
    }
    assert outcome.figures.failed == 5
    assert outcome.figures.computed == 2


@given(st.lists(st.sampled_from(["a", "b", "", "x" * 60, "c" * 20]), max_size=600), st.booleans(), st.integers(0, 99))
def test_every_row_has_its_own_result(texts: list[str], is_greedy: bool, seed: int) -> None:
    engine = FakeEngine(max_model_len=50, max_num_seqs=3, seed=seed)
    outcome = run_rows(engine, rows(*texts), GREEDY if is_greedy else SAMPLED, num_rows=len(texts))
    for row, text in enumerate(texts):
        is_bad = text in ("", "x" * 60)
        assert outcome.values[row] == (None if is_bad else reverse(text))
        assert (row in outcome.errors) == is_bad
    figures = outcome.figures
    assert figures.rows_done == figures.rows == len(texts)
    assert figures.failed == len(outcome.errors)
    assert figures.finished == figures.computed == len(engine.calls[0].submitted)
    answered = [text for text in texts if text in ("a", "b", "c" * 20)]
    assert figures.computed == (len(set(answered)) if is_greedy else len(answered))


def test_equal_rows_are_computed_once_when_the_answer_is_deterministic() -> None:
    texts = ["same", "other", "same"] * 1000
    seeded, drawn = (GenerateTask(SamplingParams(seed=seed)) for seed in (3, None))
    for task, computed in ((GREEDY, 2), (seeded, 2), (SAMPLED, 3000), (drawn, 3000)):
        engine = FakeEngine()
        outcome = run_rows(engine, rows(*texts), task, num_rows=3000)
        assert outcome.values == ["emas", "rehto", "emas"] * 1000
        assert len(engine.calls[0].submitted) == outcome.figures.computed == computed
        assert outcome.figures.duplicates == 3000 - computed


@pytest.mark.parametrize("max_num_seqs", [1, 64, 700])
def test_the_engine_holds_at_most_a_window_of_rows(max_num_seqs: int) -> None:
    engine = FakeEngine(max_num_seqs=max_num_seqs, max_per_poll=50)
    window = max(MIN_PENDING_ROWS, 2 * max_num_seqs)
    texts = [f"row {i}" for i in range(3 * window)]
    outcome = run_rows(engine, rows(*texts), GREEDY, num_rows=len(texts))
    assert outcome.values == [reverse(text) for text in texts]
    assert window - CHUNK_ROWS < engine.calls[0].max_num_pending <= window


def test_a_million_rows_start_after_one_chunk_and_never_pile_up() -> None:
    engine = FakeEngine()
    num_pulled = 0

    def endless() -> Iterator[tuple[int, str | PagednbError]]:
        nonlocal num_pulled
        for row in itertools.count():
            num_pulled += 1
            yield row, f"row {row}"

    class EnoughError(Exception):
        pass

    pulled_at_submission: list[int] = []

    def on_submit() -> None:
        pulled_at_submission.append(num_pulled)
        if len(pulled_at_submission) == 5_000:
            raise EnoughError

    most_in_flight = 0

    def watch(figures: RunFigures) -> None:
        nonlocal most_in_flight
        most_in_flight = max(most_in_flight, num_pulled - figures.rows_done)

    engine.on_submit = on_submit
    with pytest.raises(EnoughError):
        run_rows(engine, endless(), GREEDY, num_rows=1_000_000, watch=watch)
    assert pulled_at_submission[0] == CHUNK_ROWS
    assert most_in_flight <= MIN_PENDING_ROWS
    assert engine.calls[0].is_open is False


def test_long_rows_are_encoded_in_small_batches() -> None:
    engine = FakeEngine()
    texts = [f"{row}" * 150_000 for row in range(10, 30)]
    outcome = run_rows(engine, rows(*texts), GREEDY, num_rows=len(texts))
    assert len(outcome.errors) == len(texts)
    assert engine.encoded_chars == [1_200_000] * 5


def test_an_interrupt_says_how_far_it_came_and_closes_the_call() -> None:
    engine = FakeEngine()
    num_polls = itertools.count()

    def interrupt_later() -> None:
        if next(num_polls) == 5:
            raise KeyboardInterrupt

    engine.on_poll = interrupt_later
    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt) as caught:
        run_rows(
            engine,
            rows(*(str(i) for i in range(5000))),
            GREEDY,
            num_rows=5000,
            watch=lambda figures: seen.append(figures.rows_done),
        )
    assert caught.value.__notes__ == [f"{seen[-1]}/5000 done; pagednb.last_run().frame holds them."]
    assert caught.value._render_traceback_() == [
        f"KeyboardInterrupt: {seen[-1]}/5000 done; pagednb.last_run().frame holds them."
    ]  # IPython's hook
    assert engine.calls[0].num_aborted > 0
    engine.on_poll = lambda: None
    assert run_rows(engine, rows("ab"), GREEDY, num_rows=1).values == ["ba"]


def test_a_chat_template_sees_messages() -> None:
    engine = FakeEngine(has_chat_template=True, answer=str.upper)
    assert run_rows(engine, rows("hi"), GREEDY, num_rows=1).values == ["<USER>HI<ASSISTANT>"]
    outcome = run_rows(engine, rows("hi"), GREEDY, num_rows=1, chat=Chat("Be brief: {x}"))
    assert outcome.values == ["<SYSTEM>BE BRIEF: {X}<USER>HI<ASSISTANT>"]


def test_a_system_message_needs_a_chat_template() -> None:
    engine = FakeEngine(has_chat_template=False)
    with pytest.raises(OptionError, match="no chat template"):
        run_rows(engine, rows("hi"), GREEDY, num_rows=1, chat=Chat("Be brief."))
    assert engine.calls == []


def test_figures_count_tokens_and_cut_texts() -> None:
    outcome = run_rows(
        FakeEngine(),
        rows("abcdef", "ab", "abcdef"),
        GenerateTask(SamplingParams(temperature=0, max_tokens=3)),
        num_rows=3,
    )
    figures = outcome.figures
    assert outcome.values == ["fed", "ba", "fed"]
    assert (figures.prompt_tokens, figures.cached_tokens, figures.output_tokens) == (8, 2, 5)
    assert figures.cut_at_max_tokens == 1
    assert figures.seconds > 0
    assert figures.tokens_per_s == pytest.approx((8 - 2 + 5) / figures.seconds)
    assert figures.rows_per_s == pytest.approx(3 / figures.seconds)


def test_the_estimate_follows_tokens_not_rows() -> None:
    # half of the tokens are done after 10 s although nine rows of ten are
    figures = RunFigures(
        rows=10, computed=10, finished=9, rows_done=9, submitted_tokens=180, prompt_tokens=90, seconds=10
    )
    assert figures.eta_s == pytest.approx(10)
    figures = RunFigures(rows=10, computed=5, finished=5, rows_done=5, submitted_tokens=50, prompt_tokens=50, seconds=5)
    assert figures.eta_s == pytest.approx(5)
    assert RunFigures(rows=10).eta_s is None

"""Chats and what runs beside them: figures from turns written by hand, behaviour on an engine without a model."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from support.engine_rig import VOCAB_SIZE, assert_idle
from support.measured_rig import measured_rig

from pagednb.benchmark.chat import Chat, ChatTurn, read_turns
from pagednb.benchmark.chat_run import run_busy_kernel, run_chat_while_label
from pagednb.benchmark.companions import BatchBeside, busy_cell
from pagednb.benchmark.workloads import TimedRequest, chat_turns
from pagednb.errors import BenchmarkError, PromptError, RequestCancelledError

PROMPT = list(range(10, 40))


def test_figures_of_a_chat() -> None:
    # the second answer brought two tokens at once, and was cut short; the third brought nothing
    chat = Chat(
        [
            ChatTurn(asked_s=0.0, arrivals_s=(0.5, 0.6, 0.8), num_tokens=3),
            ChatTurn(asked_s=10.0, arrivals_s=(10.1, 10.2), num_tokens=3),
            ChatTurn(asked_s=20.0, arrivals_s=(), num_tokens=0),
        ]
    )
    assert chat.tokens_per_s == pytest.approx(6 / (0.8 + 0.2))
    assert chat.ttft_ms(50) == pytest.approx(300)
    assert chat.gap_ms(50) == pytest.approx(100)
    assert chat.gap_ms(100) == pytest.approx(200)


def test_a_chat_of_one_token_has_no_figures() -> None:
    with pytest.raises(BenchmarkError, match="--rows"):
        Chat([ChatTurn(asked_s=0.0, arrivals_s=(1.0,), num_tokens=1)])


def test_turns_are_read_to_their_ends() -> None:
    engine, builder = measured_rig()
    builder.executor.before_step = lambda: time.sleep(0.002)
    with engine:
        turns = read_turns(engine.llm_engine, [TimedRequest(PROMPT, 20), TimedRequest(PROMPT, 1)])
    assert [turn.num_tokens for turn in turns] == [20, 1]
    for turn in turns:
        assert list(turn.arrivals_s) == sorted(turn.arrivals_s)
        assert turn.arrivals_s[0] - turn.asked_s >= 0.002
    assert turns[0].arrivals_s[-1] < turns[1].asked_s


def test_a_turn_is_cut_short_and_its_request_ends() -> None:
    engine, builder = measured_rig()
    builder.executor.before_step = lambda: time.sleep(0.001)
    looks = itertools.count(1)
    with engine:
        requests = itertools.repeat(TimedRequest(PROMPT, 200))
        turns = read_turns(engine.llm_engine, requests, is_over=lambda: next(looks) > 5)
        assert_idle(engine.llm_engine)
    assert len(turns) == 1
    assert len(turns[0].arrivals_s) == 5  # every output before the cut brought tokens


def test_a_batch_beside_says_how_long_it_took() -> None:
    engine, builder = measured_rig()
    builder.executor.before_step = lambda: time.sleep(0.005)
    with engine:
        with BatchBeside(engine.llm_engine, [TimedRequest(PROMPT, 10)]) as batch:
            assert not batch.is_over
            seconds = batch.seconds()
            assert batch.is_over
        assert seconds >= 0.05


def test_a_batch_that_is_left_ends() -> None:
    engine, builder = measured_rig()
    builder.executor.before_step = lambda: time.sleep(0.001)
    batch = BatchBeside(engine.llm_engine, [TimedRequest(PROMPT[:length], length) for length in range(2, 30)] * 30)
    with engine:
        with pytest.raises(KeyboardInterrupt), batch:
            raise KeyboardInterrupt
        assert_idle(engine.llm_engine)
        with pytest.raises(RequestCancelledError):
            batch.seconds()


def test_what_ends_a_batch_reaches_who_asks() -> None:
    engine, _ = measured_rig()
    with engine, BatchBeside(engine.llm_engine, [TimedRequest([VOCAB_SIZE], 2)]) as batch, pytest.raises(PromptError):
        batch.seconds()


def test_a_busy_cell_is_busy_until_the_end() -> None:
    with busy_cell():
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "pagednb-bench-busy")
        assert thread.is_alive()
    assert not thread.is_alive()


def test_chat_while_label_compares_with_label_alone() -> None:
    engine, builder = measured_rig(max_num_seqs=4)
    builder.executor.before_step = lambda: time.sleep(0.002)
    with engine:
        figures = run_chat_while_label(engine, 1, num_rows=20)
        assert_idle(engine.llm_engine)
    assert figures.num_requests == 20
    assert figures.alone_s is not None and figures.seconds is not None
    assert figures.batch_loss == pytest.approx(1 - figures.alone_s / figures.seconds)
    assert figures.gap_p99_ms is not None and figures.gap_p99_ms >= 2
    assert figures.chat_tokens_per_s is not None and figures.chat_tokens_per_s < 500


def test_busy_kernel_compares_with_the_same_chat() -> None:
    engine, _ = measured_rig()
    with engine:
        figures = run_busy_kernel(engine, 1)
        assert_idle(engine.llm_engine)
    assert figures.chat_alone_tokens_per_s is not None and figures.chat_tokens_per_s is not None
    assert figures.share_kept == pytest.approx(figures.chat_tokens_per_s / figures.chat_alone_tokens_per_s)
    assert next(chat_turns(1, vocab_size=VOCAB_SIZE)).num_new_tokens == 256

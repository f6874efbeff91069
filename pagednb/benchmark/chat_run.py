"""What disturbs a chat, and how much: a batch on the same engine, pure Python in the same process."""

from __future__ import annotations

import itertools
import time

from pagednb.benchmark.batch_run import run_batch
from pagednb.benchmark.chat import Chat, read_turns
from pagednb.benchmark.companions import BatchBeside, busy_cell
from pagednb.benchmark.figures import Figures
from pagednb.benchmark.measured_engine import MeasuredEngine
from pagednb.benchmark.workloads import chat_turns, make_workload

NUM_CHAT_TURNS = 4

MAX_BUSY_S = 20.0
"""A chat beside a busy cell ends here at the latest: on a CPU each operation of a step must get the GIL back from the
cell, and a token can take a second."""


def run_chat_while_label(engine: MeasuredEngine, seed: int, *, num_rows: int | None = None) -> Figures:
    """Run ``label`` alone, then again beside a chat that lasts as long as it; both from an empty prefix cache.

    Raises:
        BenchmarkError: a request returned a wrong number of tokens, or the batch was over before the chat began.
    """
    rows = make_workload("label", seed, vocab_size=engine.vocab_size)[:num_rows]
    alone = run_batch(engine, rows)
    assert alone.seconds is not None
    engine.llm_engine.reset_prefix_cache()
    with BatchBeside(engine.llm_engine, rows) as batch:
        requests = chat_turns(seed, vocab_size=engine.vocab_size)
        turns = read_turns(engine.llm_engine, requests, is_over=lambda: batch.is_over)
        seconds = batch.seconds()
    chat = Chat(turns)
    return Figures(
        num_requests=len(rows),
        num_chat_turns=len(turns),
        seconds=seconds,
        alone_s=alone.seconds,
        batch_loss=1 - alone.seconds / seconds,
        requests_per_s=len(rows) / seconds,
        chat_tokens_per_s=chat.tokens_per_s,
        gap_p50_ms=chat.gap_ms(50),
        gap_p99_ms=chat.gap_ms(99),
        ttft_p50_ms=chat.ttft_ms(50),
        ttft_p99_ms=chat.ttft_ms(99),
    )


def run_busy_kernel(engine: MeasuredEngine, seed: int) -> Figures:
    """Hold a chat of a few turns undisturbed, then as much of it as time allows while a thread computes in pure Python.

    Raises:
        BenchmarkError: an answer has a wrong number of tokens.
    """
    requests = list(itertools.islice(chat_turns(seed, vocab_size=engine.vocab_size), NUM_CHAT_TURNS))
    engine.llm_engine.reset_prefix_cache()
    alone = Chat(read_turns(engine.llm_engine, requests))
    engine.llm_engine.reset_prefix_cache()
    with busy_cell():
        end_s = time.perf_counter() + MAX_BUSY_S
        turns = read_turns(engine.llm_engine, requests, is_over=lambda: time.perf_counter() > end_s)
    chat = Chat(turns)
    return Figures(
        num_chat_turns=len(turns),
        chat_tokens_per_s=chat.tokens_per_s,
        chat_alone_tokens_per_s=alone.tokens_per_s,
        share_kept=chat.tokens_per_s / alone.tokens_per_s,
        gap_p50_ms=chat.gap_ms(50),
        gap_p99_ms=chat.gap_ms(99),
        ttft_p50_ms=chat.ttft_ms(50),
        ttft_p99_ms=chat.ttft_ms(99),
    )

"""Runs on a whole engine whose executor needs no model: counts must agree with what the scheduler was made to do."""

from __future__ import annotations

import dataclasses
import time

import pytest
from support.measured_rig import VOCAB_SIZE, measured_rig

from pagednb.benchmark.batch_run import NUM_SINGLE_TURNS, check_num_tokens, generate_timed, run_batch, run_single
from pagednb.benchmark.workloads import SINGLE_NUM_NEW, TimedRequest
from pagednb.errors import BenchmarkError


def requests_with(shared: int, own: int, num_new: int, count: int) -> list[TimedRequest]:
    prefix = [2 + i % (VOCAB_SIZE - 2) for i in range(shared)]
    return [
        TimedRequest([*prefix, *[2 + (7 * number + i) % 300 for i in range(own)]], num_new) for number in range(count)
    ]


def test_counts_are_the_engines() -> None:
    engine, builder = measured_rig()
    with engine:
        figures = run_batch(engine, requests_with(40, 9, 5, count=6))
        assert figures.num_steps == builder.executor.num_steps == 5
    assert figures.num_requests == 6
    assert figures.prefix_hit_rate == pytest.approx(5 * 40 / (6 * 49))
    assert figures.num_preemptions == 0
    assert figures.host_ms_per_step is None
    assert figures.peak_kv_use is not None and 0 < figures.peak_kv_use < 0.1
    assert figures.seconds is not None and figures.out_tokens_per_s == pytest.approx(30 / figures.seconds)
    assert figures.in_tokens_per_s == pytest.approx(6 * 49 / figures.seconds)


def test_every_run_starts_with_an_empty_prefix_cache() -> None:
    engine, _ = measured_rig()
    with engine:
        requests = requests_with(40, 9, 5, count=1)
        rates = [run_batch(engine, requests).prefix_hit_rate for _ in range(3)]
    assert rates == [0, 0, 0]


def test_figures_are_of_one_run_and_not_of_the_engines_life() -> None:
    engine, _ = measured_rig(num_blocks=40, max_num_seqs=4, max_model_len=128, max_num_batched_tokens=64)
    with engine:
        crowded = run_batch(engine, requests_with(0, 20, 40, count=8))
        alone = run_batch(engine, requests_with(0, 20, 40, count=1))
    assert crowded.num_preemptions is not None and crowded.num_preemptions > 0
    assert crowded.peak_kv_use is not None and crowded.peak_kv_use > 0.9
    assert (alone.num_preemptions, alone.prefix_hit_rate) == (0, 0)
    assert alone.peak_kv_use is not None and alone.peak_kv_use < 0.5


def test_times_are_those_of_the_steps() -> None:
    engine, builder = measured_rig(device="cuda:0")
    builder.executor.before_step = lambda: time.sleep(0.01)
    with engine:
        figures = run_batch(engine, requests_with(0, 30, 11, count=2))
    # ten steps after the first token; on a busy machine they take longer, never less
    assert figures.tpot_p50_ms is not None and figures.tpot_p50_ms >= 10
    assert figures.ttft_p50_ms is not None and figures.ttft_p50_ms >= 10
    assert figures.host_ms_per_step is not None and figures.host_ms_per_step >= 10 * 10 / 11
    assert figures.seconds is not None and figures.seconds >= 0.11


def test_single_is_one_request_after_another() -> None:
    engine, builder = measured_rig(device="cuda:0")
    with engine:
        figures = run_single(engine, 1)
        assert engine.llm_engine.status().scheduler.num_prefix_tokens_hit == 0
    assert builder.executor.num_steps == NUM_SINGLE_TURNS * (1 + SINGLE_NUM_NEW)
    assert figures.num_steps == SINGLE_NUM_NEW
    assert figures.ttft_p50_ms is not None and figures.tpot_p50_ms is not None
    assert figures.host_ms_per_step is not None
    assert figures.seconds is None


def test_a_missing_token_is_an_error() -> None:
    engine, _ = measured_rig()
    with engine:
        (output,) = generate_timed(engine.llm_engine, requests_with(0, 5, 3, count=1)).outputs
    check_num_tokens(output, 3)
    (completion,) = output.outputs
    short = dataclasses.replace(output, outputs=(dataclasses.replace(completion, token_ids=completion.token_ids[:2]),))
    with pytest.raises(BenchmarkError, match="2 tokens instead of 3"):
        check_num_tokens(short, 3)


def test_a_request_that_ends_at_the_models_length_fails_the_run() -> None:
    engine, _ = measured_rig(max_model_len=16)
    with engine, pytest.raises(BenchmarkError, match="6 tokens instead of 7"):
        run_batch(engine, requests_with(0, 10, 7, count=1))

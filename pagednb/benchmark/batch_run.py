"""Runs requests all at once, as ``LLM.generate`` does, and a single request at a time; returns their figures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pagednb.benchmark.figures import Figures, latencies, percentile
from pagednb.benchmark.measured_engine import MeasuredEngine
from pagednb.benchmark.step_recorder import StepLog
from pagednb.benchmark.workloads import SINGLE_NUM_NEW, TimedRequest, make_workload
from pagednb.engine.llm_engine import LLMEngine
from pagednb.errors import BenchmarkError
from pagednb.outputs import RequestOutput
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.stats import SchedulerStats

NUM_SINGLE_TURNS = 4


class TimedOutputs(NamedTuple):
    """Outputs in the order of their requests, and what they took in all."""

    seconds: float
    outputs: list[RequestOutput]


def run_batch(engine: MeasuredEngine, requests: Sequence[TimedRequest]) -> Figures:
    """Run all requests at once, from an empty prefix cache.

    Raises:
        BenchmarkError: a request returned another number of tokens than it was asked for.
    """
    engine.llm_engine.reset_prefix_cache()
    before = engine.llm_engine.status().scheduler
    with engine.recorder.record() as log:
        seconds, outputs = generate_timed(engine.llm_engine, requests)
    after = engine.llm_engine.status().scheduler
    times = latencies(outputs, log.first_token_s)
    return Figures(
        num_requests=len(requests),
        seconds=seconds,
        requests_per_s=len(requests) / seconds,
        in_tokens_per_s=sum(len(request.prompt_token_ids) for request in requests) / seconds,
        out_tokens_per_s=sum(request.num_new_tokens for request in requests) / seconds,
        ttft_p50_ms=percentile(times.ttft_ms, 50),
        ttft_p99_ms=percentile(times.ttft_ms, 99),
        tpot_p50_ms=percentile(times.tpot_ms, 50),
        tpot_p99_ms=percentile(times.tpot_ms, 99),
        num_steps=log.num_steps,
        mean_decode_steps=log.num_decode_steps / log.num_steps,
        host_ms_per_step=_host_ms_per_step(engine, [log]),
        peak_kv_use=log.peak_kv_use,
        kv_waste=statistics.mean(log.wastes),
        prefix_hit_rate=_hit_rate(before, after),
        num_preemptions=after.num_preemptions - before.num_preemptions,
    )


def run_single(engine: MeasuredEngine, seed: int) -> Figures:
    """One chat turn at a time: TTFT from a request of one token, TPOT from the difference to a long one; medians.

    Raises:
        BenchmarkError: as ``run_batch``.
    """
    ((prompt, _),) = make_workload("single", seed, vocab_size=engine.vocab_size)
    ttft_s, tpot_s, logs = [], [], []
    for _ in range(NUM_SINGLE_TURNS):
        # no turn finds another's prompt in the prefix cache
        engine.llm_engine.reset_prefix_cache()
        ttft_s.append(generate_timed(engine.llm_engine, [TimedRequest(prompt, 1)]).seconds)
        engine.llm_engine.reset_prefix_cache()
        with engine.recorder.record() as log:
            long_s = generate_timed(engine.llm_engine, [TimedRequest(prompt, SINGLE_NUM_NEW)]).seconds
        tpot_s.append((long_s - ttft_s[-1]) / (SINGLE_NUM_NEW - 1))
        logs.append(log)
    return Figures(
        num_requests=1,
        ttft_p50_ms=1e3 * statistics.median(ttft_s),
        tpot_p50_ms=1e3 * statistics.median(tpot_s),
        num_steps=logs[-1].num_steps,
        mean_decode_steps=logs[-1].num_decode_steps / logs[-1].num_steps,
        host_ms_per_step=_host_ms_per_step(engine, logs),
        peak_kv_use=max(log.peak_kv_use for log in logs),
    )


def generate_timed(
    engine: LLMEngine,
    requests: Sequence[TimedRequest],
    *,
    progress: Callable[[list[RequestOutput]], None] | None = None,
) -> TimedOutputs:
    """Run all requests at once; the clock runs from the first submission to the last output.

    Raises:
        BenchmarkError: a request returned another number of tokens than it was asked for.
    """
    prompts = [{"prompt_token_ids": request.prompt_token_ids} for request in requests]
    params = [sampling_params(request.num_new_tokens) for request in requests]
    start_s = time.perf_counter()
    outputs = engine.generate(prompts, params, progress=progress)
    seconds = time.perf_counter() - start_s
    for output, request in zip(outputs, requests, strict=True):
        check_num_tokens(output, request.num_new_tokens)
    return TimedOutputs(seconds, outputs)


def check_num_tokens(output: RequestOutput, num_expected: int) -> None:
    """Raise BenchmarkError unless the output has exactly the expected number of tokens."""
    num_tokens = len(output.outputs[0].token_ids)
    if num_tokens != num_expected:
        raise BenchmarkError(
            f"Request {output.request_id} returned {num_tokens} tokens instead of {num_expected}: the times mean "
            "nothing.",
            hint="This is a fault of the engine; please report it with the command.",
        )


def sampling_params(num_new_tokens: int) -> SamplingParams:
    """Return the parameters of every benchmark request: temperature 1, a fixed number of tokens, no text."""
    return SamplingParams(temperature=1.0, max_tokens=num_new_tokens, ignore_eos=True, detokenize=False)


def _host_ms_per_step(engine: MeasuredEngine, logs: Sequence[StepLog]) -> float | None:
    if not engine.has_device:
        return None
    return 1e3 * sum(log.host_s for log in logs) / sum(log.num_steps for log in logs)


def _hit_rate(before: SchedulerStats, after: SchedulerStats) -> float:
    num_asked = after.num_prefix_tokens_asked - before.num_prefix_tokens_asked
    return (after.num_prefix_tokens_hit - before.num_prefix_tokens_hit) / num_asked if num_asked else 0.0

"""Where a workload's GPU time goes: ``python tests/perf/profile_engine.py --model qwen3-0.6b chatlike``.

Runs each workload once under torch's profiler (CUDA activity only) and sums the kernels by kind; ``idle`` is the part
of the workload in which no kernel ran. Tracing slows short kernels down a little: the shares count, not the seconds.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import tempfile
import time
from collections import Counter

import torch

import pagednb
from pagednb.benchmark.batch_run import generate_timed
from pagednb.benchmark.shapes import SHAPES, model_folder
from pagednb.benchmark.workloads import TimedRequest, Workload, make_workload

BATCHES = ("single", "chatlike", "nano", "label")

# first match wins; names of cuBLAS kernels differ by version and shape
KINDS = (
    ("decode attention", r"_part_kernel|merge_kernel|_prefix_kernel|_suffix_kernel|_reduce_kernel"),
    ("prefill attention", r"_prefill_kernel"),
    ("products", r"gemm|nvjet|cutlass|cublas|gemv|splitK|sm90_xmma|_few_rows_kernel"),
    ("rope and cache", r"rope"),
    ("norms", r"rms_norm"),
    ("silu and mul", r"silu"),
    ("sampling", r"_weigh_kernel|_draw_kernel|_threshold|_level|_run_max|_floor|_collect"),
    ("copies, host and device", r"Memcpy|Memset"),
)


def kind_of(name: str) -> str:
    return next((kind for kind, pattern in KINDS if re.search(pattern, name)), f"other: {name[:60]}")


def profile(llm: pagednb.LLM, requests: Workload) -> None:
    """Run ``requests`` and print the sums."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True) as profiler:
        wall = generate_timed(llm.engine, requests).seconds
        torch.cuda.synchronize()
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    spans, seconds, counts = [], Counter[str](), Counter[str]()
    for event in profiler.profiler.kineto_results.events():
        if event.device_type() != torch.autograd.DeviceType.CUDA or event.duration_ns() <= 0:
            continue
        kind = kind_of(event.name())
        seconds[kind] += event.duration_ns() / 1e9
        counts[kind] += 1
        spans.append((event.start_ns(), event.start_ns() + event.duration_ns()))
    busy, end = 0, 0
    for start, stop in sorted(spans):
        busy += max(0, stop - max(start, end))
        end = max(end, stop)
    print(f"  wall {wall:.3f} s, GPU busy {busy / 1e9:.3f} s, idle {wall - busy / 1e9:.3f} s, {len(spans):,} kernels")
    for kind, total in seconds.most_common(16):
        share, each_us = 100 * total / wall, 1e6 * total / counts[kind]
        print(f"    {total:8.3f} s {share:5.1f} %  {counts[kind]:>8,} x {each_us:8.1f} us  {kind}")


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", default=list(BATCHES), help="workloads to profile, in order")
    parser.add_argument("--model", choices=sorted(SHAPES), default="llama-3.1-8b")
    args = parser.parse_args()
    folder = model_folder(args.model, pathlib.Path(tempfile.mkdtemp()))
    llm = pagednb.LLM(model=str(folder), load_format="dummy", skip_tokenizer_init=True)
    for name in args.workloads:
        warm_up = [TimedRequest(ids[:64], 8) for ids, _ in make_workload("chatlike", 0)[:64]]
        generate_timed(llm.engine, warm_up)
        start = time.perf_counter()
        plain = generate_timed(llm.engine, make_workload(name, 1)).seconds
        print(f"{args.model} {name}: {plain:.3f} s without the profiler", flush=True)
        profile(llm, make_workload(name, 2))
        print(f"    (took {time.perf_counter() - start:.0f} s)", flush=True)
    llm.shutdown()


if __name__ == "__main__":
    main()

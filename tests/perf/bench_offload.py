"""What ``cpu_offload_gb`` costs: ``python tests/perf/bench_offload.py`` (an 8B model of random weights, one GPU).

Prints, for each size offloaded, the time between two tokens of one answer and of 64 at once, and the speed of prompts,
next to what the bus allows. Every step copies every offloaded layer once, whatever it computes:

    floor of a step = offloaded bytes / measured rate from pinned host memory to the device

A layer of Llama 3.1 8B has 218.1 million parameters, 436 MB in bf16. Two buffers of that size are paid first, so 4 GiB
take 12 layers (5.23 GB a step) and 8 GiB take 22 (9.60 GB): at 55 GB/s 95 and 175 ms a token instead of 4, whether one
row decodes or many. A step of 8,192 prompt tokens computes for about 190 ms: there the copies hide nearly all, and
what is left is what the device waits for the first layer and computes after the last.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile

import numpy as np
import torch

import pagednb
from pagednb.benchmark.batch_run import generate_timed
from pagednb.benchmark.shapes import SHAPES, model_folder
from pagednb.benchmark.workloads import TimedRequest

PROMPT_TOKENS = 4096
NUM_PROMPTS = 16
COPY_BYTES = 2**30
REPEATS = 3


def random_prompts(count: int, length: int, seed: int) -> list[list[int]]:
    """Return prompts that have nothing in common."""
    return np.random.default_rng(seed).integers(10, 100_000, (count, length)).tolist()


def host_to_device_rate() -> float:
    """Return bytes a second of large copies from pinned memory."""
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, pin_memory=True)
    target = torch.empty_like(source, device="cuda")
    target.copy_(source)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(REPEATS):
        target.copy_(source, non_blocking=True)
    end.record()
    end.synchronize()
    del source, target
    torch.cuda.empty_cache()
    torch._C._host_emptyCache()
    return 1000 * REPEATS * COPY_BYTES / begin.elapsed_time(end)


def seconds_per_token(llm: pagednb.LLM, num_rows: int, num_new: int) -> float:
    """Return the time between two tokens of ``num_rows`` answers: the best long run less the best short one.

    The best difference of two runs would credit a long one with what the short one spent on capturing graphs.
    """
    counts = (2, 2 + num_new)
    best = dict.fromkeys(counts, float("inf"))
    for seed in range(REPEATS):
        prompts = random_prompts(num_rows, 16, seed)
        for count in counts:
            seconds = generate_timed(llm.engine, [TimedRequest(prompt, count) for prompt in prompts]).seconds
            best[count] = min(best[count], seconds)
    return (best[counts[1]] - best[counts[0]]) / num_new


def prompt_tokens_per_s(llm: pagednb.LLM) -> float:
    """Return the speed at which new prompts are computed: the best of some runs."""
    best = 0.0
    for seed in range(REPEATS):
        prompts = random_prompts(NUM_PROMPTS, PROMPT_TOKENS, 100 + seed)
        seconds = generate_timed(llm.engine, [TimedRequest(prompt, 1) for prompt in prompts]).seconds
        best = max(best, NUM_PROMPTS * PROMPT_TOKENS / seconds)
    return best


def measure(folder: pathlib.Path, cpu_offload_gb: float, rate: float, num_new: int) -> dict[str, float]:
    """Load the model with so much offloaded and return its figures."""
    llm = pagednb.LLM(
        model=str(folder),
        load_format="dummy",
        skip_tokenizer_init=True,
        cpu_offload_gb=cpu_offload_gb,
        max_model_len=8192,
    )
    try:
        memory = llm.engine.status().memory
        return {
            "cpu_offload_gb": cpu_offload_gb,
            "device_gib": memory.weight_bytes / 2**30,
            "host_gib": memory.offloaded_bytes / 2**30,
            "floor_ms": 1000 * memory.offloaded_bytes / rate,
            "tpot_1_ms": 1000 * seconds_per_token(llm, 1, num_new),
            "tpot_64_ms": 1000 * seconds_per_token(llm, 64, num_new),
            "prompt_tokens_per_s": prompt_tokens_per_s(llm),
        }
    finally:
        llm.shutdown()


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=float, default=[0.0, 4.0, 8.0], help="GiB to offload, one run each")
    parser.add_argument("--model", choices=sorted(SHAPES), default="llama-3.1-8b")
    parser.add_argument("--new-tokens", type=int, default=32, help="tokens that a TPOT is taken over")
    args = parser.parse_args()
    folder = model_folder(args.model, pathlib.Path(tempfile.mkdtemp()))
    rate = host_to_device_rate()
    device = torch.cuda.get_device_name()
    print(f"{args.model} on {device}, from pinned host memory at {rate / 1e9:.1f} GB/s")
    head = ("offload", "on device", "on host", "floor", "TPOT, 1 row", "64 rows", "prompts")
    units = ("GiB", "GiB", "GiB", "ms", "ms", "ms", "tok/s")
    print("".join(f"{name:>13}" for name in head))
    print("".join(f"{unit:>13}" for unit in units))
    runs = []
    for size in args.sizes:
        runs.append(measure(folder, size, rate, args.new_tokens))
        print(
            "".join(f"{value:>13,.4g}" if value < 1000 else f"{value:>13,.0f}" for value in runs[-1].values()),
            flush=True,
        )
    print(json.dumps({"model": args.model, "device": device, "bytes_per_s": rate, "runs": runs}))


if __name__ == "__main__":
    main()

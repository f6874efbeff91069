"""What sleeping costs and gives: ``python tests/perf/bench_sleep.py`` (an 8B model of random weights, one GPU).

Prints, for both levels, the seconds that ``sleep`` and ``wake_up`` take, those of the first answer afterwards, and the
memory that the driver says came back, next to what the engine held; then one line of JSON. By default the weights are
drawn on the device, and level 2 draws them again; with ``--checkpoint`` random shards are written, and read from the
page cache. Levels take turns; each figure is the best of its turns, and all are in the JSON.

    floor of level 1, each way = weight bytes / measured rate between pinned host memory and the device
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from bench_load import warm_page_cache, write_checkpoint

import pagednb
from pagednb.benchmark.shapes import SHAPES, model_folder

PROMPT = list(range(10, 138))
COPY_BYTES = 2**30
COPIES = 3


def rate_bytes_per_s(*, to_device: bool) -> float:
    """Return the speed of large copies between pinned memory and the device."""
    host = torch.empty(COPY_BYTES, dtype=torch.uint8, pin_memory=True)
    device = torch.empty_like(host, device="cuda")
    source, target = (host, device) if to_device else (device, host)
    target.copy_(source)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(COPIES):
        target.copy_(source, non_blocking=True)
    end.record()
    end.synchronize()
    del source, target, host, device
    torch.cuda.empty_cache()
    torch._C._host_emptyCache()
    return 1000 * COPIES * COPY_BYTES / begin.elapsed_time(end)


def used_bytes() -> int:
    """What anyone holds of the device."""
    free_bytes, total_bytes = torch.cuda.mem_get_info()
    return total_bytes - free_bytes


def seconds(function: Callable[[], object]) -> float:
    """Return how long a call takes."""
    begin_s = time.perf_counter()
    function()
    return time.perf_counter() - begin_s


def turn(llm: pagednb.LLM, level: int, expected: tuple[int, ...]) -> dict[str, float]:
    """Sleep, wake up and answer once; return seconds and bytes."""
    params = pagednb.SamplingParams(temperature=0, max_tokens=16, ignore_eos=True, detokenize=False)
    awake = used_bytes()
    sleep_s = seconds(lambda: llm.sleep(level))
    asleep = used_bytes()
    wake_s = seconds(llm.wake_up)
    begin_s = time.perf_counter()
    output = llm.generate([PROMPT], params, use_tqdm=False)[0].outputs[0]
    answer_s = time.perf_counter() - begin_s
    if output.token_ids != expected:
        raise RuntimeError(f"level {level} changed the answer: {output.token_ids} is not {expected}")
    return {"level": level, "sleep_s": sleep_s, "wake_s": wake_s, "answer_s": answer_s, "freed_bytes": awake - asleep}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Load the model and return the figures of all turns."""
    if args.checkpoint:
        folder = write_checkpoint(args.model, args.folder)
        warm_page_cache(folder)
        options: dict[str, Any] = {}
    else:
        folder = model_folder(args.model, pathlib.Path(tempfile.mkdtemp()))
        options = {"load_format": "dummy"}
    torch.zeros(1, device="cuda")
    rates = {"in": rate_bytes_per_s(to_device=True), "out": rate_bytes_per_s(to_device=False)}
    nothing = used_bytes()
    llm = pagednb.LLM(folder, skip_tokenizer_init=True, max_model_len=8192, **options)
    try:
        params = pagednb.SamplingParams(temperature=0, max_tokens=16, ignore_eos=True, detokenize=False)
        expected = llm.generate([PROMPT], params, use_tqdm=False)[0].outputs[0].token_ids
        held, weight_bytes = used_bytes() - nothing, llm.status().memory.weight_bytes
        turns = [turn(llm, level, expected) for _ in range(args.turns) for level in (1, 2)]
    finally:
        llm.shutdown()
    return {"held_bytes": held, "weight_bytes": weight_bytes, "bytes_per_s": rates, "turns": turns}


def print_table(report: dict[str, Any]) -> None:
    """Print the best turn of each level."""
    weights, rates = report["weight_bytes"], report["bytes_per_s"]
    print(
        f"held {report['held_bytes'] / 2**30:.1f} GiB, {weights / 2**30:.1f} GiB of it weights; floor of level 1: "
        f"{weights / rates['out']:.2f} s to sleep at {rates['out'] / 1e9:.1f} GB/s, "
        f"{weights / rates['in']:.2f} s to wake at {rates['in'] / 1e9:.1f} GB/s"
    )
    print(f"{'level':>6}{'sleep':>9}{'wake':>9}{'answer':>9}{'freed':>12}{'of held':>9}")
    for level in (1, 2):
        turns = [each for each in report["turns"] if each["level"] == level]
        best = {name: min(each[name] for each in turns) for name in turns[0]}
        share = best["freed_bytes"] / report["held_bytes"]
        print(
            f"{level:6}{best['sleep_s']:7.2f} s{best['wake_s']:7.2f} s{best['answer_s']:7.3f} s"
            f"{best['freed_bytes'] / 2**30:8.1f} GiB{share:9.1%}"
        )


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(SHAPES), default="llama-3.1-8b")
    parser.add_argument("--turns", type=int, default=3, help="of each level")
    parser.add_argument("--checkpoint", action="store_true", help="write random weights and read them at level 2")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "pagednb-bench")
    args = parser.parse_args()
    report = measure(args)
    print(f"{args.model} on {torch.cuda.get_device_name()}")
    print_table(report)
    print(json.dumps({"model": args.model, "checkpoint": args.checkpoint, **report}))


if __name__ == "__main__":
    main()

"""Time the engine's workloads on random weights: ``python tests/perf/bench_engine.py --model qwen3-0.6b chatlike``.

Temperature 1.0 and ``ignore_eos``; one small warm-up; runs with seeds 1 and 2, the better one counts; every request
must return exactly its number of tokens. Prints a table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import tempfile
import time
from typing import Any

import torch
import workloads

import pagednb

SEEDS = (1, 2)


def run_batch(llm: pagednb.LLM, requests: workloads.Workload) -> dict[str, Any]:
    """Run all requests at once; return seconds and throughput."""
    prompts = [{"prompt_token_ids": ids} for ids, _ in requests]
    params = [_params(num_out) for _, num_out in requests]
    start = time.perf_counter()
    outputs = llm.generate(prompts, params, use_tqdm=False)
    seconds = time.perf_counter() - start
    for output, (_, expected) in zip(outputs, requests, strict=True):
        produced = len(output.outputs[0].token_ids)
        if produced != expected:
            raise RuntimeError(f"request {output.request_id} returned {produced} tokens instead of {expected}")
    num_in, num_out = sum(len(ids) for ids, _ in requests), sum(out for _, out in requests)
    return {
        "seconds": seconds,
        "requests_per_s": len(requests) / seconds,
        "in_tokens_per_s": num_in / seconds,
        "out_tokens_per_s": num_out / seconds,
    }


def run_single(llm: pagednb.LLM, seed: int) -> dict[str, Any]:
    """One stream: TTFT from a 1-token request, TPOT from the difference to the full one; medians of four."""
    ((prompt, _),) = workloads.make_workload("single", seed)
    first, tpot = [], []
    for turn in range(4):
        prompt = [prompt[0] + turn + 1, *prompt[1:]]  # a new prompt each time: no prefix-cache hit
        first.append(_timed(llm, prompt, 1))
        prompt = [prompt[0] + turn + 100, *prompt[1:]]
        tpot.append((_timed(llm, prompt, 257) - first[-1]) / 256)
    return {"ttft_ms": 1e3 * statistics.median(first), "tpot_ms": 1e3 * statistics.median(tpot)}


def run(model: str, names: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """Load the model with random weights and run the named workloads; return their best figures."""
    start = time.perf_counter()
    folder = workloads.model_folder(model, pathlib.Path(tempfile.mkdtemp()))
    llm = pagednb.LLM(model=str(folder), load_format="dummy", skip_tokenizer_init=True, **options)
    results: dict[str, Any] = {"model": model, "load_s": time.perf_counter() - start}
    run_batch(llm, [(ids[:64], 8) for ids, _ in workloads.make_workload("chatlike", 0)[:64]])
    try:
        for name in names:
            single = name == "single"
            runs = [run_single(llm, s) if single else run_batch(llm, workloads.make_workload(name, s)) for s in SEEDS]
            results[name] = min(runs, key=lambda r: r["tpot_ms" if single else "seconds"])
            print(f"{model:14} {name:9} " + "  ".join(f"{k} {v:,.2f}" for k, v in results[name].items()), flush=True)
        results["status"] = str(llm.status())
    finally:
        llm.shutdown()
    return results


def _params(max_tokens: int) -> pagednb.SamplingParams:
    return pagednb.SamplingParams(temperature=1.0, max_tokens=max_tokens, ignore_eos=True, detokenize=False)


def _timed(llm: pagednb.LLM, prompt: list[int], max_tokens: int) -> float:
    start = time.perf_counter()
    llm.generate([{"prompt_token_ids": prompt}], _params(max_tokens), use_tqdm=False)
    return time.perf_counter() - start


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", default=list(workloads.NAMES), help="workloads to run, in order")
    parser.add_argument("--model", choices=sorted(workloads.MODELS), default="llama-3.1-8b")
    parser.add_argument("--max-num-batched-tokens", type=int, default=None)
    parser.add_argument("--max-num-seqs", type=int, default=None)
    args = parser.parse_args()
    options = {"max_num_batched_tokens": args.max_num_batched_tokens, "max_num_seqs": args.max_num_seqs}
    results = run(args.model, args.workloads, options)
    print(results.pop("status"))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print(json.dumps({"device": device, "torch": torch.__version__, **results}))


if __name__ == "__main__":
    main()

"""Times dataframe verbs, text in and values out: ``python tests/perf/bench_dataframe.py --model qwen3-0.6b classify``.

Rows, tokenizer and schema are those of ``text_workload.py``; weights are random. Each job runs a small warm-up, then
once for each seed, from an empty prefix cache and without the result cache, and prints a line of text and one of JSON.
``--device null`` has no model at all, which shows what the host does; ``--model tiny --device cpu`` tries everything.

Host seconds are CPU time: of the thread that called the verb, of the engine's thread, of all threads (those of the
tokenizer among them). Memory is what the process grew by at its peak, the result included. ``--profile`` adds where
both threads spent their time.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import json
import os
import pathlib
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import text_workload
from null_engine import null_engine
from thread_sampler import ThreadSampler

import pagednb
from pagednb import runtime
from pagednb.config import EngineConfig
from pagednb.engine.llm_engine import LLMEngine

Job = Callable[[Any, str], Any]  # accessor and template -> the verb's result


@dataclasses.dataclass(frozen=True)
class TimedJob:
    """A verb, how many rows it runs over, and what stands behind each row."""

    num_rows: int
    question: str
    run: Job


JOBS = {
    "classify": TimedJob(
        4096, "Area:", lambda llm, template: llm.classify(template, labels=list(text_workload.LABELS), cache=False)
    ),
    "generate": TimedJob(
        4096,
        "Answer:",
        lambda llm, template: llm.generate(template, max_tokens=40, temperature=1.0, ignore_eos=True, cache=False),
    ),
    "extract": TimedJob(
        2000,
        "Facts:",
        lambda llm, template: llm.extract(template, schema=text_workload.SCHEMA, temperature=1.0, cache=False),
    ),
}


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a block of code took."""

    seconds: float
    caller_s: float
    engine_s: float
    all_threads_s: float
    grown_mib: float


class Meter:
    """Measures one block at a time: wall clock, CPU time by thread, memory."""

    def __init__(self, engine: LLMEngine) -> None:
        self._engine = engine
        self.usage: Usage | None = None

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        gc.collect()
        peak = _PeakMemory()
        before = self._clocks()
        with peak:
            yield
        after = self._clocks()
        spent = [end - begin for begin, end in zip(before, after, strict=True)]
        self.usage = Usage(*spent, grown_mib=peak.grown_mib)

    def _clocks(self) -> tuple[float, float, float, float]:
        engine_s = self._engine._loop.call(lambda service: time.thread_time())
        return time.perf_counter(), time.thread_time(), engine_s, time.process_time()


class _PeakMemory:
    """The most that the process grew by within a ``with`` block, looked up fifty times a second."""

    def __init__(self) -> None:
        self._begin = self._most = _resident_bytes()
        self._is_over = threading.Event()
        self._worker = threading.Thread(target=self._look, daemon=True)

    @property
    def grown_mib(self) -> float:
        return (self._most - self._begin) / 2**20

    def __enter__(self) -> None:
        self._worker.start()

    def __exit__(self, *exc_info: object) -> None:
        self._is_over.set()
        self._worker.join()
        self._most = max(self._most, _resident_bytes())

    def _look(self) -> None:
        while not self._is_over.wait(0.02):
            self._most = max(self._most, _resident_bytes())


def _resident_bytes() -> int:
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def run_job(name: str, args: argparse.Namespace, engine: LLMEngine) -> None:
    """Warm up, then run job ``name`` once a seed and print what it took."""
    job = JOBS[name]
    template = text_workload.make_template(engine.tokenizer, args.folder, job.question)
    job.run(pagednb.frame(text_workload.make_frame(64, args.folder, seed=0)), template)
    for seed in args.seeds:
        frame = text_workload.make_frame(args.rows or job.num_rows, args.folder, seed=seed, max_chars=args.chars)
        engine.reset_prefix_cache()
        meter = Meter(engine)
        threads = {"caller": threading.get_ident(), "engine": engine._loop._thread.ident}
        with ThreadSampler(threads) if args.profile else contextlib.nullcontext() as sampler, meter.measuring():
            result = job.run(pagednb.frame(frame), template)
        _print_result(name, args, result, meter.usage, seed)
        if sampler is not None:
            print(sampler.table(args.profile))


def _print_result(name: str, args: argparse.Namespace, result: pd.DataFrame, usage: Usage, seed: int) -> None:
    figures = result.attrs["pagednb"]
    num_rows, num_out = figures["rows"], figures["output_tokens"]
    assert not figures["failed"] or args.device == "null", figures["failures"]
    each_us = {key: round(1e6 * getattr(usage, key) / num_rows) for key in ("caller_s", "engine_s", "all_threads_s")}
    print(
        f"{args.model} {name}: {usage.seconds:.2f} s, {num_rows / usage.seconds:,.0f} rows/s, "
        f"{num_out / usage.seconds:,.0f} output tokens/s; host us a row: caller {each_us['caller_s']}, "
        f"engine {each_us['engine_s']}, all threads {each_us['all_threads_s']}; {usage.grown_mib:,.0f} MiB more"
    )
    line = {"job": name, "model": args.model, "device": args.device, "seed": seed, "rows": num_rows}
    line |= {key: round(value, 4) for key, value in dataclasses.asdict(usage).items()}
    line |= {key: figures[key] for key in ("prompt_tokens", "cached_tokens", "output_tokens", "failed")}
    print(json.dumps(line), flush=True)


def load_engine(args: argparse.Namespace) -> LLMEngine:
    """Load the model with random weights as the engine of this process, or a stand-in without a model."""
    model = str(text_workload.prepare_model(args.model, args.folder))
    if args.device != "null":
        return pagednb.load(model, load_format="dummy", device=args.device).engine
    engine = null_engine(EngineConfig.from_options({"model": model, "load_format": "dummy", "device": "cpu"}))
    runtime.get_engine = lambda: engine
    return engine


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", help=f"of {', '.join(JOBS)}; all if none is named")
    parser.add_argument("--model", choices=text_workload.MODELS, default="qwen3-0.6b")
    parser.add_argument("--device", default="auto", help="auto, cuda, cpu or null")
    parser.add_argument("--rows", type=int, help="instead of each job's own number")
    parser.add_argument("--chars", type=int, default=900, help="longest row; the shortest has half of it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--profile", type=int, default=0, metavar="N", help="print the N functions seen most often")
    parser.add_argument(
        "--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "pagednb-bench",
        help="where the tokenizer is kept",
    )  # fmt: skip
    args = parser.parse_args()
    if unknown := set(args.jobs) - JOBS.keys():
        parser.error(f"no such job: {', '.join(sorted(unknown))}")
    os.environ.setdefault("PAGEDNB_PROGRESS", "0")
    engine = load_engine(args)
    for name in args.jobs or JOBS:
        if not hasattr(pagednb.frame(pd.DataFrame()), name):
            print(f"{name}: df.llm has no such verb yet")
            continue
        run_job(name, args, engine)
    engine.shutdown()


if __name__ == "__main__":
    main()

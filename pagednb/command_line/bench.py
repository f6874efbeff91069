"""``pagednb bench``: time a model on fixed workloads."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

from pagednb.benchmark.options import EMBEDDED, BenchmarkOptions
from pagednb.benchmark.report import Report
from pagednb.benchmark.shapes import SHAPES
from pagednb.benchmark.workloads import NAMES, SUMMARIES
from pagednb.command_line.command import Command
from pagednb.command_line.engine_options import add_engine_options, given_engine_options
from pagednb.errors import OptionError

_DESCRIPTION = """\
Run workloads of random token ids and print what they took: a table, then one line of JSON.

Every run uses temperature 1.0 and ignore_eos and starts with an empty prefix cache, after a small warm-up. Each
workload runs once with each seed: the best run is shown in full, the others by the figure that they are judged by.
A request that does not return exactly its number of tokens ends the command with an error."""

_EXAMPLES = """\
examples:
  pagednb bench embedded single label --rows 32           a first look, on any machine, in seconds
  pagednb bench llama-3.1-8b chatlike label               random weights in the shape of Llama 3.1 8B
  pagednb bench qwen3-0.6b chatlike --seeds 3 4 --enforce-eager
  pagednb bench ~/models/my-model --json figures.json     a model of your own, all workloads that fit it

Progress goes to stderr; Ctrl-C prints what is done so far.
Exit status: 0 done, 1 failed, 2 wrong options, 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "model",
        nargs="?",
        default=EMBEDDED,
        metavar="MODEL",
        help=f"a hub id, a folder, {' or '.join(SHAPES)} (random weights), or {EMBEDDED}, the model inside the package "
        "(default)",
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="see below (default: all that fit the model)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], metavar="SEED", help="default: 1 2")
    parser.add_argument("--rows", type=int, metavar="N", help="only the first N requests of each batch")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the JSON to a file as well")
    add_engine_options(parser)


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its report, also when it is interrupted or fails half-way.

    Raises:
        PagednbError: wrong options, or the benchmark failed.
    """
    options = BenchmarkOptions(
        model=args.model,
        workloads=args.workloads,
        seeds=args.seeds,
        num_rows=args.rows,
        engine=given_engine_options(args),
    )
    if args.model in NAMES:
        raise OptionError(
            f"The first word names the model, and {args.model!r} is a workload.",
            hint=f"Try: pagednb bench {EMBEDDED} {args.model}",
        )
    if args.json is not None and not args.json.absolute().parent.is_dir():
        raise OptionError(f"There is no folder {str(args.json.parent)!r} for --json.", hint="Make it first.")
    from pagednb.benchmark.benchmark import Benchmark  # loads torch: not for a mistake, nor for --help

    benchmark = Benchmark(options, note=_note)
    try:
        benchmark.run()
    finally:
        report = benchmark.report()
        if report is not None:
            _print(report, args.json)


def _print(report: Report, path: pathlib.Path | None) -> None:
    figures = {"command": "bench", **report.as_dict()}
    print(f"\n{report}\n\n{json.dumps(figures)}", flush=True)
    if path is not None:
        try:
            path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise OptionError(f"The JSON could not be written: {error}.", hint="It stands above, too.") from error


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _examples() -> str:
    width = max(map(len, NAMES))
    lines = [f"  {name:<{width}}  {SUMMARIES[name]}" for name in NAMES]
    return "\n".join(["workloads:", *lines, "", _EXAMPLES])


BENCH = Command(
    name="bench",
    summary="time a model on fixed workloads: throughput, latencies, host time, KV cache",
    description=_DESCRIPTION,
    examples=_examples(),
    add_arguments=add_arguments,
    run=run,
)

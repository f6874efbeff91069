"""``pagednb run-batch``: a file of OpenAI's batch requests, answered without a server."""

from __future__ import annotations

import argparse
import asyncio
import pathlib
import time
from typing import TYPE_CHECKING

from pagednb import envs
from pagednb.command_line.command import Command
from pagednb.command_line.loaded_model import add_model_options, loaded_engine
from pagednb.command_line.output_file import add_output_options, checked_output
from pagednb.command_line.terminal import note
from pagednb.config import EMBEDDED_MODEL
from pagednb.errors import OptionError

if TYPE_CHECKING:
    from pagednb.server.batch.batch_run import BatchCounts, BatchRun

_DESCRIPTION = """\
Answer a file of requests in OpenAI's batch format (JSON Lines), offline: the same requests, checks and answers as of
pagednb serve, without a server. Each line of the input is
  {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [...], ...}}
with /v1/chat/completions, /v1/completions or /v1/embeddings as its url."""

_EXAMPLES = """\
examples:
  pagednb run-batch -i requests.jsonl -o answers.jsonl
  pagednb run-batch -i requests.jsonl -o answers.jsonl --model Qwen/Qwen3-0.6B --served-model-name my-model

Lines of the output are written as they are done, in any order: custom_id tells whose they are. A line that is wrong
gets a line that says so, and the others their answers. A body may leave "model" out, else it must name the model.
Ctrl-C keeps the lines that are done. Exit status: 0 all lines have an answer or a reason, 1 failed, 2 wrong options or
files, 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "-i", "--input", "--input-file", type=pathlib.Path, required=True, metavar="IN", help="the requests"
    )
    add_output_options(parser, "the answers")
    parser.add_argument("--served-model-name", nargs="+", metavar="NAME", help="what bodies may call the model")
    add_model_options(parser, as_flag=True)


def run(args: argparse.Namespace) -> None:
    """Answer the file.

    Raises:
        PagednbError: wrong options, files that cannot be used, or a model that cannot be loaded.
    """
    from pagednb.server.serve import require_libraries

    require_libraries()
    source = args.input.expanduser()
    if not source.is_file():
        raise OptionError(f"There is no file {str(source)!r}.", hint="Check the path.")
    output = checked_output(args, source)
    begin_s = time.perf_counter()
    with loaded_engine(args) as engine, output.open("wb") as answers:
        from pagednb.server.batch.batch_run import BatchRun

        def write(lines: bytes) -> None:
            answers.write(lines)
            answers.flush()  # what is done is there, whatever ends the run

        batch = BatchRun(engine, tuple(args.served_model_name or (args.model or EMBEDDED_MODEL,)), write)
        try:
            _run(batch, source)
        finally:
            _report(batch.counts, output, time.perf_counter() - begin_s)


def _run(batch: BatchRun, source: pathlib.Path) -> None:
    from pagednb.engine.bar import Bar

    with source.open("rb") as file:
        num_lines = sum(1 for line in file if line.strip())
    with (
        asyncio.Runner() as runner,  # turns Ctrl-C into the end of all that is under way
        source.open("rb") as lines,
        Bar(total=num_lines, unit="line", disable=not envs.show_progress()) as bar,
    ):
        runner.run(batch.run(lines, lambda counts: bar.show(counts.num_done, f"{counts.num_failed:,} failed")))


def _report(counts: BatchCounts, output: pathlib.Path, seconds: float) -> None:
    note(f"{counts.num_done:,} lines in {seconds:.1f} s, {counts.num_failed:,} of them failed; written to {output}")


RUN_BATCH = Command(
    name="run-batch",
    summary="answer a file of OpenAI batch requests, without a server",
    description=_DESCRIPTION,
    examples=_EXAMPLES,
    add_arguments=add_arguments,
    run=run,
)

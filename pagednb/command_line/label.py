"""``pagednb label``: one of several labels for each row of a table file, through the verb ``classify``."""

from __future__ import annotations

import argparse
import csv
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

from pagednb.command_line.command import Command
from pagednb.command_line.loaded_model import add_model_options, loaded_engine
from pagednb.command_line.output_file import add_output_options, checked_output
from pagednb.command_line.terminal import note
from pagednb.command_line.text_table import text_table
from pagednb.errors import OptionError, RowErrorsWarning, nearest_name
from pagednb.template import Template

_DESCRIPTION = """\
Give each row of a table one of several labels and write the table with the labels added. Files are CSV, TSV, Parquet or
JSON Lines, told apart by their names (.csv .tsv .parquet .jsonl); input and output may differ.

The model may say nothing but labels, so every answer is one. The same rows get the same labels each time."""

_EXAMPLES = """\
examples:
  pagednb label tickets.csv --column text --choices billing,technical,other -o labelled.parquet
  pagednb label reviews.jsonl --column review --choices positive,negative --into mood --confidence -o moods.jsonl
  pagednb label big.parquet --model Qwen/Qwen3-0.6B --checkpoint runs/big --choices yes,no -o big_labelled.parquet \\
      --prompt 'Subject: {subject}\\n\\n{body}\\n\\nIs this about money?'

With --checkpoint rows are on disk within ten seconds of being done: after whatever ended it, kill -9 included, the same
command goes on from there. A row that cannot be labelled, such as one too long for the model, has its reason in
<into>_error; one with nothing in a column that is asked about stays without a label. Progress goes to stderr, the count
of each label to stdout. Exit status: 0 done, 1 failed, 2 wrong options or files, 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("file", type=pathlib.Path, metavar="FILE", help="the table to be labelled; never changed")
    add_output_options(parser, "the table to write")
    parser.add_argument(
        "--choices", required=True, metavar="A,B,...", help='the labels; "quotes" around one with commas'
    )
    group = parser.add_argument_group("what the model reads of a row", "one of these, or both")
    group.add_argument("--column", metavar="NAME", help="the text of this column")
    group.add_argument("--prompt", metavar="TEXT", help=r"a text with {columns} in it; \n begins a new line")
    parser.add_argument("--into", default="label", metavar="NAME", help="the new column (default: label)")
    parser.add_argument("--confidence", action="store_true", help="add <into>_confidence, the label's probability")
    parser.add_argument("--checkpoint", type=pathlib.Path, metavar="FOLDER", help="keep rows as they are done")
    parser.add_argument(
        "--truncate", choices=("left", "right", "middle"), default="error", help="cut rows that are too long, there"
    )
    add_model_options(parser, as_flag=True)


def run(args: argparse.Namespace) -> None:
    """Label and write.

    Raises:
        PagednbError: wrong options, a file that cannot be used, or a model that cannot be loaded; nothing is written.
    """
    choices = _choices(args.choices)
    source = args.file.expanduser()
    output = checked_output(args, source)
    from pagednb.dataframe.table_file import check_table_path, read_table, write_table

    check_table_path(output)
    frame = read_table(source)
    template = _template(args, [str(name) for name in frame.columns])
    _check_new_columns(args, frame)
    try:
        with loaded_engine(args):
            labelled = _label(frame, template, choices, args)
    except KeyboardInterrupt:
        kept = "the same command goes on" if args.checkpoint else "--checkpoint FOLDER would have kept what was done"
        note(f"pagednb: nothing was written to {str(output)!r}; {kept}.")
        raise
    write_table(labelled, output)
    _report(labelled, args.into, choices, output)


def _choices(text: str) -> list[str]:
    (choices,) = csv.reader([text], skipinitialspace=True)
    return [choice.strip() for choice in choices]


def _template(args: argparse.Namespace, names: Sequence[str]) -> str:
    """Return what ``classify`` takes: the column's name, or a template of columns."""
    column: str | None = args.column
    if column is None and args.prompt is None:
        raise OptionError("What is to be labelled?", hint=f"Give --column, one of: {', '.join(names)}.")
    if column is not None and column not in names:
        nearest = nearest_name(column, names)
        hint = f"Did you mean {nearest!r}?" if nearest else f"There is: {', '.join(names)}."
        raise OptionError(f"The table has no column {column!r}.", hint=hint)
    if args.prompt is None:
        assert column is not None
        return column
    prompt: str = args.prompt.replace(r"\n", "\n")
    if column is not None and column not in Template(prompt).bind(names).names:
        raise OptionError(f"The prompt does not use the column {column!r}.", hint=f"Put {{{column}}} into it.")
    return prompt


def _check_new_columns(args: argparse.Namespace, frame: Any) -> None:
    for name in (args.into, f"{args.into}_confidence", f"{args.into}_error"):
        if name in frame.columns:
            raise OptionError(f"The table has a column {name!r} already.", hint="Give --into another name.")


def _label(frame: Any, template: str, choices: Sequence[str], args: argparse.Namespace) -> Any:
    from pagednb.dataframe.accessor import frame as verbs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RowErrorsWarning)  # it speaks of Python; _report says the same
        return verbs(frame).classify(
            template,
            labels=choices,
            into=args.into,
            confidence=args.confidence,
            checkpoint=args.checkpoint,
            truncate=args.truncate,
            cache=False,
        )


def _report(labelled: Any, into: str, choices: Sequence[str], output: pathlib.Path) -> None:
    counts = labelled[into].value_counts()
    num_rows = len(labelled)
    rows = [(choice, f"{counts[choice]:,}", f"{counts[choice] / max(num_rows, 1):.1%}") for choice in choices]
    print(text_table((into, "rows", "share"), rows, right=(1, 2)), flush=True)
    figures = labelled.attrs["pagednb"]
    resumed = f", {figures['resumed']:,} of them from the checkpoint" if figures["resumed"] else ""
    note(f"{num_rows:,} rows in {figures['seconds']:.1f} s{resumed}; written to {output}")
    if figures["missing"]:
        note(f"{figures['missing']:,} rows have nothing to be labelled and stay without a label.")
    if figures["failed"]:
        note(f"{figures['failed']:,} rows could not be labelled; the reasons are in column {into + '_error'!r}.")


LABEL = Command(
    name="label",
    summary="label each row of a CSV, TSV, Parquet or JSON Lines file",
    description=_DESCRIPTION,
    examples=_EXAMPLES,
    add_arguments=add_arguments,
    run=run,
)

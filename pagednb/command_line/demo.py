"""``pagednb demo``: the shipped support tickets, labelled by the model inside the package."""

from __future__ import annotations

import argparse
from typing import Any

from pagednb.command_line.command import Command
from pagednb.command_line.engine_options import add_engine_options
from pagednb.command_line.loaded_model import loaded_engine
from pagednb.command_line.terminal import one_line
from pagednb.command_line.text_table import text_table
from pagednb.errors import OptionError

NUM_TICKETS = 500
_TEAMS = ("billing", "technical", "shipping", "account", "other")
_SHOWN_ROWS = 10
_TEXT_WIDTH = 64

_DESCRIPTION = """\
Send support tickets to the team that should answer them, with the small model inside the package: nothing is fetched,
and a laptop is enough. Shows the first tickets, what the model said of them, and how often it was right in all."""

_EXAMPLES = f"""\
examples:
  pagednb demo                            100 tickets, in seconds
  pagednb demo --rows {NUM_TICKETS}                 all of them
  pagednb demo --device cpu               not on the GPU

The same from Python:
  import pagednb as pnb
  pnb.load()
  tickets.llm.classify("text", labels=["billing", "technical", "shipping", "account", "other"])

Exit status: 0 done, 1 failed, 2 wrong options, 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--rows", type=int, default=100, metavar="N", help="tickets to label (default: 100)")
    add_engine_options(parser)
    parser.set_defaults(model=None)


def run(args: argparse.Namespace) -> None:
    """Label and show. Raises PagednbError for wrong options or too little memory."""
    if not 1 <= args.rows <= NUM_TICKETS:
        raise OptionError(f"--rows {args.rows} is not valid.", hint=f"There are {NUM_TICKETS} tickets; take 1 or more.")
    from pagednb.dataframe.accessor import frame as verbs
    from pagednb.dataframe.table_file import read_table
    from pagednb.embedded_model import tickets_path

    tickets = read_table(tickets_path()).head(args.rows).rename(columns={"team": "gold"})
    with loaded_engine(args):
        labelled = verbs(tickets).classify("text", labels=_TEAMS, into="team", cache=False)
    _show(labelled)


def _show(labelled: Any) -> None:
    said = labelled["team"].astype(str)
    columns = (labelled["text"], said, labelled["team_confidence"], labelled["gold"])
    rows = [
        (one_line(text, _TEXT_WIDTH), team, f"{confidence:.2f}", "" if team == gold else f"wrong: {gold}")
        for text, team, confidence, gold in zip(*(column.head(_SHOWN_ROWS) for column in columns), strict=True)
    ]
    num_right, num_rows = int((said == labelled["gold"]).sum()), len(labelled)
    rate = labelled.attrs["pagednb"]["rows_per_s"]
    print(text_table(("ticket", "team", "sure", ""), rows, right=(2,)))
    if num_rows > _SHOWN_ROWS:
        print(f"... and {num_rows - _SHOWN_ROWS} more")
    print(f"\n{num_right} of {num_rows} right ({num_right / num_rows:.1%}), {rate:,.0f} tickets a second", flush=True)


DEMO = Command(
    name="demo",
    summary="label support tickets with the model inside, to see that all works",
    description=_DESCRIPTION,
    examples=_EXAMPLES,
    add_arguments=add_arguments,
    run=run,
)

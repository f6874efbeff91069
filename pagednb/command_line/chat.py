"""``pagednb chat``: talk to a model in the terminal."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from typing import Any

from pagednb.command_line.command import Command
from pagednb.command_line.loaded_model import add_model_options, loaded_engine
from pagednb.command_line.terminal import note
from pagednb.command_line.terminal_chat import HELP, TerminalChat

_DESCRIPTION = """\
Talk to a model in the terminal. Answers stream as they are written; the model remembers the conversation."""

_EXAMPLES = f"""\
examples:
  pagednb chat                                            the small model inside the package: it knows pagednb
  pagednb chat Qwen/Qwen3-0.6B --temperature 0.7
  pagednb chat ~/models/my-model --system 'Answer in one sentence.'
  echo 'What can pagednb do?' | pagednb chat              from a script: answers alone go to stdout

in the chat:
  {HELP.replace(chr(10), chr(10) + "  ")}

Exit status: 0 left, 1 failed, 2 wrong options."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--system", metavar="TEXT", help="instructions before the conversation")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 is always the likeliest word")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="tokens of an answer at most (default: what fits)")
    add_model_options(parser, as_flag=False)


def run(args: argparse.Namespace) -> None:
    """Talk. Raises PagednbError for wrong options or a model that cannot be loaded or talked to."""
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    with loaded_engine(args) as engine:
        given: dict[str, Any] = {"max_tokens": args.max_tokens}
        if args.temperature is not None:
            given["temperature"] = args.temperature
        params = engine.default_sampling_params(**given)
        chat = TerminalChat(engine, params, system=args.system, read=input, out=sys.stdout, is_terminal=is_terminal)
        if is_terminal:
            with contextlib.suppress(ImportError):  # where it is there, the arrow keys work from its import on
                importlib.import_module("readline")
            note(f"{engine.resolved.name} on {engine.resolved.device}. /help lists what the chat knows, /exit leaves.")
        chat.run()


CHAT = Command(
    name="chat",
    summary="talk to a model in the terminal",
    description=_DESCRIPTION,
    examples=_EXAMPLES,
    add_arguments=add_arguments,
    run=run,
)

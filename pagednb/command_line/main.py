"""From the words of a command line to an exit status: the errors of every command end here, as sentences."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from pagednb.command_line.bench import BENCH
from pagednb.command_line.chat import CHAT
from pagednb.command_line.command import Command
from pagednb.command_line.demo import DEMO
from pagednb.command_line.doctor import DOCTOR
from pagednb.command_line.label import LABEL
from pagednb.command_line.models import MODELS
from pagednb.command_line.parser import CommandParser
from pagednb.command_line.run_batch import RUN_BATCH
from pagednb.command_line.serve import SERVE
from pagednb.errors import NotSupportedYetError, OptionError, PagednbError, nearest_name
from pagednb.version import VERSION

EXIT_FAILED = 1
EXIT_WRONG_OPTIONS = 2
EXIT_INTERRUPTED = 130
"""What shells report of a command that Ctrl-C ended: 128 plus the signal's number."""

COMMANDS: Mapping[str, Command] = {
    command.name: command for command in (DEMO, CHAT, LABEL, RUN_BATCH, SERVE, BENCH, MODELS, DOCTOR)
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` names (default: this process's arguments) and return its exit status.

    Raises:
        SystemExit: after ``--help`` and ``--version``.
    """
    try:
        _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()  # here a failure is still a sentence
    except PagednbError as error:
        print(f"pagednb: {error}", file=sys.stderr)
        # by its class an error is also what its cause suggests: a wrong value is the mistake of who gave it
        return EXIT_WRONG_OPTIONS if isinstance(error, ValueError | NotSupportedYetError) else EXIT_FAILED
    except OSError as error:  # a full disk, a folder that is closed to us
        _let_go_of_stdout()
        if not isinstance(error, BrokenPipeError):  # whoever read our output, such as head, has read enough
            print(f"pagednb: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("pagednb: interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _let_go_of_stdout() -> None:
    """Write what can be written; what cannot must not fail again when Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(words: Sequence[str]) -> None:
    top = _top_parser()
    if not words:
        top.print_help()
        return
    name, *rest = words
    if name.startswith("-"):
        top.parse_args(words)  # --help and --version leave from here
    command = _find(name)
    parser = CommandParser(prog=f"pagednb {name}", description=command.description, epilog=command.examples)
    command.add_arguments(parser)
    command.run(parser.parse_intermixed_args([_dashed(word) for word in rest]))


def _dashed(word: str) -> str:
    """Return a flag with dashes in the place of underscores, which vLLM takes too; any other word as it stands."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") and len(name.split()) == 1 else word


def _find(name: str) -> Command:
    if name not in COMMANDS:
        nearest = nearest_name(name, COMMANDS)
        hint = f"Did you mean {nearest!r}?" if nearest else f"There is: {', '.join(COMMANDS)}."
        raise OptionError(f"There is no command {name!r}.", hint=hint)
    return COMMANDS[name]


def _top_parser() -> CommandParser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    parser = CommandParser(
        prog="pagednb",
        usage="pagednb COMMAND ...",
        description="A language-model engine that lives inside your notebook kernel; here, on the command line.",
        epilog="\n".join(["commands:", *lines, "", "pagednb COMMAND --help explains a command, with examples."]),
    )
    parser.add_argument("--version", action="version", version=f"pagednb {VERSION}")
    return parser

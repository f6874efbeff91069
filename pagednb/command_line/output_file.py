"""Where a command writes to: refused, before hours of work, if it could not be written at their end."""

from __future__ import annotations

import argparse
import os
import pathlib

from pagednb.errors import OptionError


def add_output_options(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--output`` and ``--overwrite``."""
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, metavar="OUT", help=what)
    parser.add_argument("--overwrite", action="store_true", help="replace an output that is there")


def checked_output(args: argparse.Namespace, source: pathlib.Path) -> pathlib.Path:
    """Return the output's path. Raises OptionError: it is the input or a folder, is there, or cannot be made."""
    output: pathlib.Path = args.output.expanduser()
    if output.exists() and source.exists() and output.samefile(source):
        raise OptionError("The output is the input itself.", hint="Give -o another name: the input is never changed.")
    if output.is_dir():
        raise OptionError(f"The output {str(output)!r} is a folder.", hint="Give the name of a file.")
    if output.exists() and not args.overwrite:
        raise OptionError(f"The output {str(output)!r} is there already.", hint="--overwrite replaces it.")
    folder = output.absolute().parent
    if not folder.is_dir():
        raise OptionError(f"There is no folder {str(folder)!r} for the output.", hint="Make it first.")
    if not os.access(folder, os.W_OK):
        raise OptionError(f"The folder {str(folder)!r} cannot be written to.", hint="Give -o another place.")
    return output

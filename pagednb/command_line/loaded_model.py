"""The model that a command works with: the option that names it, and the engine for as long as it is needed."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pagednb.command_line.engine_options import add_engine_options, given_engine_options

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

_HELP = "a hub id or a folder (default: the model inside the package)"


def add_model_options(parser: argparse.ArgumentParser, *, as_flag: bool) -> None:
    """Add the model, as the option ``--model`` or as the first word, and the engine's options."""
    if as_flag:
        parser.add_argument("--model", metavar="MODEL", help=_HELP)
    else:
        parser.add_argument("model", nargs="?", metavar="MODEL", help=_HELP)
    add_engine_options(parser)


@contextlib.contextmanager
def loaded_engine(args: argparse.Namespace) -> Iterator[LLMEngine]:
    """Load the model for the time of the block, as the engine of this process. Raises as ``pagednb.load``."""
    from pagednb import runtime

    llm = runtime.load(args.model, **given_engine_options(args))
    try:
        yield llm.engine
    finally:
        runtime.unload()

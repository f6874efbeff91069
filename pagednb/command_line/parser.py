"""argparse with the manners of pagednb: a mistake is a sentence with a next step, and help keeps its line breaks."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from pagednb.errors import OptionError, nearest_name


class CommandParser(argparse.ArgumentParser):
    """Parses one command; its options must be written in full.

    Raises:
        OptionError: from ``parse_args``, in the place of argparse's exit.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found wrong, with the nearest flag where there is none of that name."""
        unknown = message.removeprefix("unrecognized arguments: ").split()
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        nearest = nearest_name(unknown[0], flags) if message.startswith("unrecognized arguments: --") else None
        hint = f"{self.prog} --help explains every option." if nearest is None else f"Did you mean {nearest}?"
        raise OptionError(f"{message[:1].upper()}{message[1:]}.", hint=hint)

"""What a subcommand is: words for its help, the options that it takes, and a function that runs it."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """One subcommand of ``pagednb``.

    ``run`` prints results to stdout and raises what goes wrong; imports that cost time belong into it, so that help
    and mistakes are quick. ``examples`` follow the options in the help.
    """

    name: str
    summary: str
    description: str
    examples: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]

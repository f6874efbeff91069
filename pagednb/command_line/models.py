"""``pagednb models``: what can be loaded without a network."""

from __future__ import annotations

import argparse
import pathlib

from pagednb.command_line.command import Command
from pagednb.command_line.text_table import text_table
from pagednb.errors import OptionError
from pagednb.models.local_models import LocalModel, local_models, models_below

_DESCRIPTION = """\
List the models that load without a network: the one inside the package and those in the Hugging Face cache; or, with
FOLDER, those in that folder and the folders below it. Nothing is fetched and no weights are opened."""

_EXAMPLES = """\
examples:
  pagednb models                          the model inside, and what the hub's cache holds
  pagednb models ~/models                 model folders of your own
  pagednb chat Qwen/Qwen3-0.6B            use one by its name; a hub id that is not here is fetched first

The cache lies where HF_HOME or HF_HUB_CACHE say, else in ~/.cache/huggingface.
Exit status: 0 done, 2 wrong options."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("folder", nargs="?", type=pathlib.Path, metavar="FOLDER", help="look here, not in the cache")


def run(args: argparse.Namespace) -> None:
    """Print the list. Raises OptionError for a folder that cannot be read."""
    print(_table(local_models() if args.folder is None else _models_in(args.folder)))


def _models_in(folder: pathlib.Path) -> list[LocalModel]:
    folder = folder.expanduser()
    if not folder.is_dir():
        raise OptionError(f"There is no folder {str(folder)!r}.", hint="Check the path.")
    models = models_below(folder)
    if not models:
        raise OptionError(
            f"The folder {str(folder)!r} holds no model.",
            hint="A model is a folder with config.json and its weights, as transformers' save_pretrained writes it.",
        )
    return models


def _table(models: list[LocalModel]) -> str:
    rows = [(model.name, model.architecture, f"{model.num_bytes / 1e9:,.2f} GB") for model in models]
    return text_table(("model", "architecture", "size"), rows, right=(2,))


MODELS = Command(
    name="models",
    summary="list the models that are on this machine",
    description=_DESCRIPTION,
    examples=_EXAMPLES,
    add_arguments=add_arguments,
    run=run,
)

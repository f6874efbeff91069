"""What one ``%generate`` asks for: its flags over the settings, checked before any work starts."""

from __future__ import annotations

import argparse
import dataclasses
import keyword
from collections.abc import Mapping
from typing import Any

from pagednb.errors import OptionError, nearest_name
from pagednb.notebook.settings import PagedNB
from pagednb.sampling_params import SamplingParams

_SAMPLING_NAMES = {field.name for field in dataclasses.fields(SamplingParams)}
_IN_VARIABLES = ("schema", "grammar")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """The flags of one ``%generate``.

    Attributes:
        sampling: sampling parameters from flags and settings; what is missing is the model's own.
        system: as on the line; None leaves it to settings or conversation.
        chat: name of the conversation to go on with, if any.
        thinking: "on", "off", or "auto" for what the chat template does by itself.
        format: how the answer is shown.
        name: the variable to bind.
        is_raw: braces stay as they are.
    """

    sampling: dict[str, Any]
    system: str | None
    chat: str | None
    thinking: str
    format: str
    name: str | None
    is_raw: bool

    @classmethod
    def from_args(cls, args: argparse.Namespace, settings: PagedNB, variables: Mapping[str, Any]) -> GenerateOptions:
        """Check the parsed flags; --schema and --grammar name one of ``variables``.

        Raises:
            OptionError, SchemaError, NotSupportedYetError: before any work starts.
        """
        given = vars(args)
        flags = {name: value for name, value in given.items() if name in _SAMPLING_NAMES}
        for name in _IN_VARIABLES:
            if name in flags:
                flags[name] = _variable(f"--{name}", flags[name], variables)
        sampling = settings.sampling | flags
        SamplingParams(**sampling)
        target, chat = given.get("name"), given.get("chat")
        if target is not None and (not target.isidentifier() or keyword.iskeyword(target)):
            raise OptionError(f"-o {target} cannot name a variable.", hint="Use letters, digits and _.")
        if chat is not None and sampling.get("n", 1) > 1:
            raise OptionError("A conversation goes on from one answer.", hint="Leave out -n, or --chat.")
        return cls(
            sampling=sampling,
            system=given.get("system"),
            chat=chat,
            thinking=given.get("thinking", settings.thinking),
            format=given.get("format", settings.format),
            name=target,
            is_raw=given.get("raw", False),
        )


def _variable(flag: str, name: str, variables: Mapping[str, Any]) -> Any:
    """Return the value of a variable, or of an attribute such as ``shop.Ticket``."""
    head, *attributes = name.split(".")
    if head not in variables:
        nearest = nearest_name(head, (known for known in variables if not known.startswith("_")))
        hint = f"Did you mean {nearest}?" if nearest else "Define it in a cell."
        raise OptionError(f"{flag} {name}: there is no such variable.", hint=hint)
    value = variables[head]
    for attribute in attributes:
        if not hasattr(value, attribute):
            raise OptionError(f"{flag} {name}: there is no {attribute!r} in it.", hint="Check the name.")
        value = getattr(value, attribute)
    return value

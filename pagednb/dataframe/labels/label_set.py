"""The labels of a verb: texts that a model may answer with, each with a description or without, checked once."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Literal, get_origin

import pandas as pd

from pagednb.checks import require_unicode
from pagednb.errors import OptionError


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """Labels in their order; ``descriptions`` follow them, empty where there is none."""

    texts: tuple[str, ...]
    descriptions: tuple[str, ...]

    @classmethod
    def of(cls, labels: object, *, at_least: int = 2) -> LabelSet:
        """Read a list of labels, or a mapping of labels to descriptions or None.

        Raises:
            OptionError: a set, too few, or one that is no text, is blank, comes twice, or is not valid Unicode.
        """
        if labels is None or isinstance(labels, (str, bytes)) or not isinstance(labels, Iterable):
            raise OptionError(
                f"labels={labels!r} is not valid.", hint='Give labels=["billing", "other"], or {label: description}.'
            )
        require_order("labels", labels)
        if get_origin(labels) is Literal:
            raise OptionError(f"labels={labels!r} is a type.", hint="Give its values: typing.get_args of it.")
        pairs = labels.items() if isinstance(labels, Mapping) else ((label, None) for label in labels)
        texts: list[str] = []
        descriptions: list[str] = []
        for text, description in pairs:
            texts.append(_checked(text, texts))
            descriptions.append(_checked_description(text, description))
        if len(texts) < at_least:
            found = "is one label" if texts else "are no labels"
            raise OptionError(f"There {found}.", hint=f"Give at least {at_least}.")
        return cls(tuple(texts), tuple(descriptions))

    def in_words(self) -> str:
        """Return the instruction that names all labels, with a blank line behind it."""
        lines = [
            f"- {text}: {description}" if description else f"- {text}"
            for text, description in zip(self.texts, self.descriptions, strict=True)
        ]
        return "\n".join(["Answer with one of these labels:", *lines, "", ""])

    def as_json(self) -> dict[str, str | None]:
        """Return labels and descriptions as ``of`` takes them."""
        return {text: description or None for text, description in zip(self.texts, self.descriptions, strict=True)}


def require_order(option: str, values: object) -> None:
    """Refuse a set: it has another order in every kernel, and with it prompts and answers would change.

    Raises:
        OptionError: it is one.
    """
    if isinstance(values, (set, frozenset)):
        raise OptionError(f"{option}= is a set, which has no order.", hint=f"Give a list: sorted({option}).")


def _checked(text: object, earlier: list[str]) -> str:
    if not isinstance(text, str):
        raise OptionError(f"The label {text!r} is no text.", hint=_as_label(text))
    if not text or text.isspace():
        raise OptionError(f"The label {text!r} is blank.", hint="Name it.")
    if text in earlier:
        raise OptionError(f"The label {text!r} comes twice.", hint="Give each once.")
    require_unicode(f"The label {text!r}", text)
    return text


def _as_label(value: object) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "Leave it out: .dropna() before .unique() does it."
    return f"Give {str(value.value if isinstance(value, enum.Enum) else value)!r}."


def _checked_description(text: object, description: object) -> str:
    if not isinstance(description, str | None):
        raise OptionError(f"The description of {text!r} is {description!r}.", hint="Give a text or None.")
    require_unicode(f"The description of {text!r}", description or "")
    return description or ""

"""What an answer must be, in a word and a text: as it crosses from sampling parameters to whoever compiles it."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Sequence


class ConstraintKind(enum.StrEnum):
    """How a constraint's text is to be read."""

    SCHEMA = "schema"
    CHOICES = "choices"
    REGEX = "regex"
    GRAMMAR = "grammar"


@dataclasses.dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint; equal ones compile to the same automaton.

    Attributes:
        kind: what it was given as.
        text: a JSON Schema, a JSON list of texts, a regular expression or a grammar.
        whitespace: whether JSON may hold free whitespace; compact otherwise.
    """

    kind: ConstraintKind
    text: str
    whitespace: bool = False

    @classmethod
    def of_choices(cls, choices: Sequence[str]) -> Constraint:
        """Return the constraint to exactly one of ``choices``."""
        return cls(ConstraintKind.CHOICES, json.dumps(list(choices), ensure_ascii=False))

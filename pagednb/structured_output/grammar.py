"""A constraint in llguidance's own words, checked: whatever it cannot enforce is refused here, by name.

llguidance (https://github.com/guidance-ai/llguidance) is imported with the first constraint, not with the package.
"""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING

from pagednb.errors import NotSupportedYetError, OptionError, PagednbError, SchemaError
from pagednb.structured_output.constraint import Constraint, ConstraintKind

if TYPE_CHECKING:
    from llguidance import LLMatcher

_NUM_KEPT = 1024
_REGEX_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
_UNKNOWN_KEYS = re.compile(r"Unimplemented keys: (\[.*\])")


@functools.lru_cache(maxsize=_NUM_KEPT)
def grammar_of(constraint: Constraint) -> str:
    """Return the grammar that llguidance takes.

    Raises:
        SchemaError: the schema is malformed, or has a keyword that cannot be enforced.
        OptionError: the regular expression or the grammar is malformed.
        NotSupportedYetError: llguidance is not installed.
    """
    try:
        from llguidance import LLMatcher
    except ImportError as error:
        raise NotSupportedYetError(
            "Constrained answers need the package llguidance, which is not installed.",
            hint="Run: pip install llguidance",
        ) from error
    try:
        grammar = _written(constraint, LLMatcher)
    except ValueError as error:  # nested too deeply, or not valid Unicode
        raise _refusal(constraint, str(error)) from error
    has_failed, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    if has_failed:
        raise _refusal(constraint, messages[0])
    return grammar


def _written(constraint: Constraint, matcher: type[LLMatcher]) -> str:
    if constraint.kind is ConstraintKind.SCHEMA:
        # where it cannot prove that schemas of oneOf exclude each other, it refuses them
        overrides = {"whitespace_flexible": constraint.whitespace, "coerce_one_of": False}
        return matcher.grammar_from_json_schema(constraint.text, overrides=overrides)  # type: ignore[arg-type]
    if constraint.kind is ConstraintKind.GRAMMAR:
        return matcher.grammar_from_lark(constraint.text)
    is_choices = constraint.kind is ConstraintKind.CHOICES
    return matcher.grammar_from_regex(_alternatives(constraint.text) if is_choices else constraint.text)


def _alternatives(choices: str) -> str:
    """Return the regular expression of the literal texts in a JSON list."""
    return "|".join(_REGEX_SPECIAL.sub(r"\\\g<0>", choice) for choice in json.loads(choices))


def _refusal(constraint: Constraint, message: str) -> PagednbError:
    if constraint.kind is not ConstraintKind.SCHEMA:
        return OptionError(f"{constraint.kind} cannot be used: {_reason(message)}.")
    unknown = _UNKNOWN_KEYS.search(message)
    if unknown:
        names = ", ".join(repr(name) for name in sorted(json.loads(unknown.group(1))))
        return SchemaError(
            f"schema has keywords that cannot be enforced: {names}.", hint="Leave them out, and check answers for them."
        )
    if message.startswith("oneOf"):
        return SchemaError("schema has 'oneOf' whose parts may overlap.", hint="Use anyOf.")
    return SchemaError(f"schema cannot be used: {_reason(message)}.")


def _reason(message: str) -> str:
    """Return the line of a message that says what is wrong: the others draw an arrow at the place."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    named = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (named or lines)[0].rstrip(".")

"""Words of a magic's line, turned into checked options. Pure functions: no shell, no engine.

Called by ``magics``. A mistake in the line is an ``OptionError`` (or ``NotSupportedYetError``), which ``magics`` shows
as one line. Two things differ from IPython's own splitting: quotes around a value are taken off and its escapes
understood, and the text after the last flag reaches the model exactly as it was typed.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import keyword
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pagednb.config import EngineConfig
from pagednb.errors import OptionError, nearest_name
from pagednb.sampling_params import SamplingParams

SAMPLING_FLAGS = ("n", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "choices", "regex")
"""Destinations of ``%generate`` flags that carry the name of a sampling parameter."""

_LOAD_ONLY = {"replace": (bool,)}  # options of pagednb.load beside the engine's own
_QUOTED = r'"(?:\\.|[^"\\])*"' + "|" + r"'(?:\\.|[^'\\])*'"
_WORD = re.compile(rf"(?:-[\w-]+=)?(?:{_QUOTED})(?=\s|$)|\S+", re.DOTALL)
_WHOLLY_QUOTED = re.compile(_QUOTED, re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([ntr\\'\"]))")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
_BOOL = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


class Word(NamedTuple):
    """One word of a line, quotes kept, and where it starts."""

    text: str
    start: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """What the flags of one ``%generate`` ask for: ``name`` is the variable to bind, ``is_raw`` keeps braces."""

    sampling: dict[str, Any]
    system: str | None
    name: str | None
    is_raw: bool

    @classmethod
    def from_args(cls, args: argparse.Namespace, variables: Mapping[str, Any]) -> GenerateOptions:
        """Check the parsed flags; --schema names one of ``variables``.

        Raises:
            OptionError, SchemaError, NotSupportedYetError: before any work starts.
        """
        given = {flag: getattr(args, flag) for flag in SAMPLING_FLAGS}
        sampling = {flag: value for flag, value in given.items() if value is not None}
        if args.schema is not None:
            if args.schema not in variables:
                raise OptionError(f"--schema {args.schema}: there is no such variable.", hint="Define it in a cell.")
            sampling["schema"] = variables[args.schema]
        SamplingParams(**sampling)
        if args.name is not None and (not args.name.isidentifier() or keyword.iskeyword(args.name)):
            raise OptionError(f"-o {args.name} cannot name a variable.", hint="Use letters, digits and _.")
        return cls(sampling=sampling, system=args.system, name=args.name, is_raw=args.raw)


def split_words(line: str) -> list[Word]:
    """Split at whitespace outside quotes; an apostrophe without a partner is an ordinary character."""
    return [Word(match.group(), match.start()) for match in _WORD.finditer(line)]


def strip_quotes(text: str) -> str:
    """Take one pair of matching quotes off, when they enclose the whole text."""
    return text[1:-1] if _WHOLLY_QUOTED.fullmatch(text) else text


def text_value(text: str) -> str:
    r"""Value of a text flag: without its quotes, with ``\n \t \r \\ \' \" \uXXXX`` understood."""
    return _ESCAPE.sub(_unescape, strip_quotes(text))


def text_list(text: str) -> list[str]:
    """Value of a flag that takes texts with commas between them."""
    return [item.strip() for item in text_value(text).split(",")]


def unknown_word(kind: str, word: str, known: Iterable[str]) -> OptionError:
    """Make the error for a word that is none of ``known``, naming the one nearest to it."""
    known = list(dict.fromkeys(known))
    nearest = nearest_name(word, known)
    hint = f"Did you mean {nearest}?" if nearest else f"Choose from {', '.join(known)}."
    return OptionError(f"Unknown {kind} {word!r}.", hint=hint)


def load_options(words: Sequence[str]) -> dict[str, Any]:
    """Turn ``[MODEL] --kebab-option value --switch --no-switch`` into options of ``pagednb.load``, typed and checked.

    Raises:
        OptionError: an unknown option (with the nearest name), a missing value, or a value of the wrong type.
        NotSupportedYetError: an option that vLLM has and that is not built yet.
    """
    kinds = _option_kinds()
    options: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            name, value = _take_option(word, rest, kinds)
        elif "model" not in options:
            name, value = "model", strip_quotes(word)
        else:
            raise OptionError(f"Unexpected {word!r}: the model is already {options['model']!r}.")
        options[name] = value
    EngineConfig.from_options({name: value for name, value in options.items() if name not in _LOAD_ONLY})
    return options


def _take_option(word: str, rest: list[str], kinds: Mapping[str, tuple[Any, ...]]) -> tuple[str, Any]:
    """Read one option; its value stands behind ``=`` or is taken from the front of ``rest``."""
    flag, has_value, text = word.partition("=")
    name = flag.lstrip("-").replace("-", "_")
    if name not in kinds and bool in kinds.get(name.removeprefix("no_"), ()):
        return name.removeprefix("no_"), False
    is_switch = bool in kinds.get(name, ())
    if not has_value and rest and (_is_bool(rest[0]) if is_switch else not rest[0].startswith("-")):
        return name, _convert(flag, strip_quotes(rest.pop(0)), kinds.get(name))
    if has_value:
        return name, _convert(flag, strip_quotes(text), kinds.get(name))
    if is_switch or name not in kinds:
        return name, True
    raise OptionError(f"{flag} needs a value.")


def _convert(flag: str, text: str, kinds: tuple[Any, ...] | None) -> Any:
    if kinds is None:  # EngineConfig refuses it, or knows it as not built yet
        return _literal(text)
    if text.lower() == "none" and type(None) in kinds:
        return None
    if bool in kinds:
        if _is_bool(text):
            return _BOOL[text.lower()]
        raise OptionError(f"{flag} is true or false, not {text!r}.")
    for kind, expected in ((int, "a whole number"), (float, "a number")):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                raise OptionError(f"{flag} needs {expected}, not {text!r}.") from None
    return text


def _is_bool(text: str) -> bool:
    return text.lower() in _BOOL


def _option_kinds() -> dict[str, tuple[Any, ...]]:
    """Map each option of ``pagednb.load`` to the types its annotation allows."""
    hints = typing.get_type_hints(EngineConfig)
    names = [field.name for field in dataclasses.fields(EngineConfig)]
    return {name: _members(hints[name]) for name in names} | _LOAD_ONLY


def _members(hint: Any) -> tuple[Any, ...]:
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    return typing.get_args(hint) if is_union else (hint,)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _unescape(match: re.Match[str]) -> str:
    code, letter = match.groups()
    return chr(int(code, 16)) if code else _ESCAPED.get(letter, letter)

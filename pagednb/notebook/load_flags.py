"""Flags of ``%llm load``: every option of ``pagednb.load``, typed by its annotation. Pure functions."""

from __future__ import annotations

import ast
import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pagednb.config import EngineConfig
from pagednb.errors import OptionError
from pagednb.notebook.words import strip_quotes

_LOAD_ONLY = {"replace": (bool,)}  # options of pagednb.load beside the engine's own
_BOOL = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


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


def load_flags() -> list[str]:
    """Return every flag of ``%llm load`` as it is typed."""
    return [_flag(name) for name in _option_kinds() if name != "model"]


def values_of(flag: str) -> list[str]:
    """Return the values that a flag of ``%llm load`` can have, where they are few and known."""
    for name, kinds in _option_kinds().items():
        if _flag(name) == flag:
            return [str(value) for kind in kinds for value in typing.get_args(kind)]
    return []


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


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

"""A model's ``config.json`` as typed settings: defaults for what a file leaves out, names that older files use.

The defaults are facts of transformers' config classes. Those classes are not used: importing one takes one to three
seconds, since it brings torch's compiler along. The tests compare the two.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pagednb.errors import ModelLoadError
from pagednb.models.rope_config import join_rope_settings

Size = Annotated[int, "above 0"]
"""A whole number above 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Settings that every architecture has. Subclasses add theirs, with the defaults of the architecture.

    Attributes:
        vocab_size: rows of the token embedding.
        tie_word_embeddings: the output head is the token embedding.
        eos_token_id: a token id, a list of them, or None; checked where it is used.
        dtype: name of the checkpoint's dtype; None if the file does not say.
        other_names: names that a file may use in the place of ours, and that count when it has both.
    """

    other_names: ClassVar[Mapping[str, str]] = {}

    vocab_size: Size
    tie_word_embeddings: bool
    eos_token_id: Any = None
    dtype: str | None = None


Settings = TypeVar("Settings", bound=ModelSettings)


def read_settings(kind: type[Settings], raw: Mapping[str, Any]) -> Settings:
    """Return the settings of a raw ``config.json``; names that ``kind`` does not know are left out.

    Raises:
        ModelLoadError: a setting of another type than it should have.
        UnsupportedArchitectureError: see ``join_rope_settings``.
    """
    all_hints = typing.get_type_hints(kind, include_extras=True)
    hints = {field.name: all_hints[field.name] for field in dataclasses.fields(kind)}
    found = {**raw, "dtype": raw.get("dtype") or raw.get("torch_dtype")}
    found |= {ours: raw[theirs] for theirs, ours in kind.other_names.items() if theirs in raw}
    if "rope_parameters" in hints:
        found["rope_parameters"] = join_rope_settings(raw)
    known = {name: found[name] for name in hints if name in found}
    for name, value in known.items():
        if not _fits(value, hints[name]):
            raise ModelLoadError(
                f"The model's config has {name}={value!r}, which is not {_describe(hints[name])}.",
                hint="Correct its config.json.",
            )
    return kind(**known)


def _fits(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    if hint == Size:
        return type(value) is int and value > 0
    if hint is float:
        return type(value) in (int, float)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType or origin is typing.Union:
        return any(_fits(value, argument) for argument in arguments)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    return type(value) is (origin or hint)


_WORDS: Mapping[Any, str] = {
    Size: "a whole number above 0",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    list[str]: "a list of texts",
    types.NoneType: "null",
}


def _describe(hint: Any) -> str:
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return " or ".join(_WORDS[part] for part in (typing.get_args(hint) if is_union else (hint,)))

"""A small template grammar: the source of every sentence the embedded model is trained and tested on.

A grammar file has sections (``== name``) of frames, one a line. In a frame ``[a|b]`` is a choice, ``{x}`` a slot,
``\\n`` a line break, ``{{`` and ``}}`` plain braces. Both splits share the words of ``grammar/shared``; their sentences
and instructions are written apart, in ``grammar/train`` and ``grammar/heldout``, under the same section names.
"""

from __future__ import annotations

import dataclasses
import pathlib
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

GrammarSplit = Literal["train", "heldout"]
Resolve = Callable[[str], str | None]

_FOLDER = pathlib.Path(__file__).resolve().parent / "grammar"
_TOKEN = re.compile(r"\{\{|\}\}|\{\w+\}|[\[\]|]|\\n|[^\[\]|{}\\]+|.")
_ESCAPES = {"{{": "{", "}}": "}", "\\n": "\n"}


@dataclasses.dataclass(frozen=True)
class Slot:
    """A place that a value or another section fills."""

    name: str


@dataclasses.dataclass(frozen=True)
class Choice:
    """Alternatives of which one is taken."""

    options: tuple[tuple[Node, ...], ...]


Node = str | Slot | Choice
Frame = tuple[Node, ...]


class Grammar:
    """Sections of frames. Immutable; all randomness comes from the caller's generator."""

    def __init__(self, sections: Mapping[str, tuple[Frame, ...]]) -> None:
        self._sections = sections

    @classmethod
    def load(cls, split: GrammarSplit) -> Grammar:
        """Read the shared words and the sentences of one split."""
        sections: dict[str, tuple[Frame, ...]] = {}
        for folder in ("shared", split):
            for path in sorted((_FOLDER / folder).glob("*.txt")):
                for name, frames in parse_sections(path.read_text(encoding="utf-8")).items():
                    sections[name] = sections.get(name, ()) + frames
        return cls(sections)

    def names(self, prefix: str = "") -> list[str]:
        """Names of the sections that begin with ``prefix``, sorted."""
        return sorted(name for name in self._sections if name.startswith(prefix))

    def frames(self, section: str) -> tuple[Frame, ...]:
        """Frames of a section. Raises KeyError if there is none of that name."""
        return self._sections[section]

    def expand(self, section: str, rng: random.Random, resolve: Resolve | None = None) -> str:
        """Return one random sentence of a section.

        A slot is filled by ``resolve(name)``; where that is None, by a sentence of the section of that name.
        """
        return self.expand_frame(rng.choice(self._sections[section]), rng, resolve)

    def expand_frame(self, frame: Frame, rng: random.Random, resolve: Resolve | None = None) -> str:
        """Return one random sentence of a frame; see ``expand``."""
        return "".join(self._expand_node(node, rng, resolve) for node in frame)

    def _expand_node(self, node: Node, rng: random.Random, resolve: Resolve | None) -> str:
        if isinstance(node, str):
            return node
        if isinstance(node, Choice):
            return self.expand_frame(rng.choice(node.options), rng, resolve)
        value = resolve(node.name) if resolve else None
        return self.expand(node.name, rng, resolve) if value is None else value


def parse_sections(text: str) -> dict[str, tuple[Frame, ...]]:
    """Parse the text of a grammar file. Raises ValueError with the offending line."""
    sections: dict[str, list[Frame]] = {}
    current: list[Frame] | None = None
    for line in text.splitlines():
        if line.startswith("== "):
            current = sections.setdefault(line.removeprefix("== ").strip(), [])
        elif line.strip() and not line.startswith("# "):
            if current is None:
                raise ValueError(f"Line outside of a section: {line!r}")
            current.append(parse_frame(line))
    return {name: tuple(frames) for name, frames in sections.items()}


def parse_frame(line: str) -> Frame:
    """Parse one line. Raises ValueError if its brackets do not match."""
    tokens = iter(_TOKEN.findall(line))
    (frame,), closed = _parse_options(tokens, depth=0)
    if closed:
        raise ValueError(f"Unmatched ']' in {line!r}")
    return frame


def _parse_options(tokens: Iterator[str], depth: int) -> tuple[list[Frame], bool]:
    """Read alternatives up to the closing bracket (True) or the end (False). Outside brackets ``|`` is text."""
    options: list[list[Node]] = [[]]
    for token in tokens:
        if token == "]" and depth:
            return [tuple(option) for option in options], True
        if token == "|" and depth:
            options.append([])
        elif token == "[":
            inner, closed = _parse_options(tokens, depth + 1)
            if not closed:
                raise ValueError("Unmatched '['")
            options[-1].append(Choice(tuple(inner)))
        elif token.startswith("{") and token != "{{":
            options[-1].append(Slot(token.strip("{}")))
        else:
            options[-1].append(_ESCAPES.get(token, token))
    return [tuple(option) for option in options], False


def frame_pattern(frame: Frame, slot_pattern: Callable[[str], str]) -> str:
    """Return a regular expression for everything the frame can produce, given one for each slot."""
    parts = []
    for node in frame:
        if isinstance(node, str):
            parts.append(re.escape(node))
        elif isinstance(node, Slot):
            parts.append(slot_pattern(node.name))
        else:
            options = (frame_pattern(option, slot_pattern) for option in node.options)
            parts.append("(?:" + "|".join(options) + ")")
    return "".join(parts)

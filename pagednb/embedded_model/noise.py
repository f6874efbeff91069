"""What people do to their text: typos, missing capitals and apostrophes, abbreviations, shouting.

Values that a task asks to copy are protected, so the gold answer stays in the text letter by letter.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

_ABBREVIATIONS = {
    "please": "pls",
    "you": "u",
    "are": "r",
    "thanks": "thx",
    "and": "&",
    "because": "bc",
    "your": "ur",
    "tomorrow": "tmrw",
    "weeks": "wks",
    "number": "no.",
}
_SMALL_WORDS = frozenset({"a", "an", "the", "is", "are", "was", "were", "my", "i", "it", "to", "of"})
_KEY_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def add_noise(text: str, protected: Iterable[str], rng: random.Random, rate: float) -> str:
    """Return ``text`` with the noise of a hurried writer; ``rate`` is the chance that it gets any."""
    if rng.random() >= rate:
        return text
    keep = {word.strip(".,;:!?()") for value in protected for word in value.split()}
    change = rng.choice(
        (_typos, _typos, _typos, _lowercase, _lowercase, _no_apostrophes, _abbreviate, _shout, _telegraph)
    )
    lines = (line.split(" ") for line in text.split("\n"))
    return "\n".join(" ".join(_change_words(words, keep, change, rng)) for words in lines)


def _change_words(
    words: list[str], keep: set[str], change: Callable[[list[str], random.Random], list[str]], rng: random.Random
) -> Iterable[str]:
    """Apply ``change`` to each run of words between protected ones."""
    run: list[str] = []
    for word in words:
        if any(kept in word for kept in keep) or any(letter.isdigit() or letter == "@" for letter in word):
            yield from change(run, rng)
            yield word
            run = []
        else:
            run.append(word)
    yield from change(run, rng)


def _typos(words: list[str], rng: random.Random) -> list[str]:
    return [_misspell(word, rng) if len(word) > 3 and word.isalpha() and rng.random() < 0.1 else word for word in words]


def _misspell(word: str, rng: random.Random) -> str:
    i = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if kind == 1:
        return word[:i] + word[i + 1 :]
    if kind == 2:
        return word[:i] + word[i] + word[i:]
    return word[:i] + _neighbour_key(word[i], rng) + word[i + 1 :]


def _neighbour_key(letter: str, rng: random.Random) -> str:
    for row in _KEY_ROWS:
        if letter in row:
            i = row.index(letter)
            return rng.choice(row[max(i - 1, 0) : i] + row[i + 1 : i + 2])
    return letter


def _lowercase(words: list[str], rng: random.Random) -> list[str]:
    return [word.lower() for word in words]


def _no_apostrophes(words: list[str], rng: random.Random) -> list[str]:
    return [word.replace("'", "").rstrip(".") for word in words]


def _abbreviate(words: list[str], rng: random.Random) -> list[str]:
    return [_ABBREVIATIONS.get(word.lower(), word) for word in words]


def _shout(words: list[str], rng: random.Random) -> list[str]:
    return [word.upper() for word in words]


def _telegraph(words: list[str], rng: random.Random) -> list[str]:
    return [word for word in words if word.lower() not in _SMALL_WORDS]

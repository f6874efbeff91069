"""The answers of ``score``: what the model may say, and the number that each stands for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from pagednb.dataframe.labels.label_set import LabelSet, require_order
from pagednb.errors import OptionError

MAX_STEPS = 101


@dataclasses.dataclass(frozen=True)
class ScoreScale:
    """What the model may write, in order, the numbers that it stands for, and the instruction that says so."""

    texts: tuple[str, ...]
    numbers: tuple[float, ...]
    words: str

    def as_choices(self) -> dict[str, float]:
        """Return it as ``choices=``."""
        return dict(zip(self.texts, self.numbers, strict=True))

    @classmethod
    def of(cls, choices: object, scale: object) -> ScoreScale:
        """Read ``scale=(lowest, highest)`` or ``choices=``: numbers, or a mapping of texts to numbers.

        Raises:
            OptionError: neither or both, or what makes no scale.
        """
        if choices is not None and scale is not None:
            raise OptionError("score got scale= and choices=.", hint="Give one of the two.")
        if choices is None and scale is None:
            raise OptionError("score needs scale= or choices=.", hint="For example scale=(1, 5).")
        return _from_scale(scale) if choices is None else _from_choices(choices)


def _from_scale(scale: Any) -> ScoreScale:
    is_pair = isinstance(scale, (tuple, list)) and len(scale) == 2
    is_whole = is_pair and all(isinstance(end, Integral) and not isinstance(end, bool) for end in scale)
    if not is_whole or scale[0] >= scale[1]:
        raise OptionError(f"scale={scale!r} is not valid.", hint="Use two whole numbers, the lowest first: (1, 5).")
    low, high = map(int, scale)
    if high - low >= MAX_STEPS:
        raise OptionError(f"scale={scale!r} has {high - low + 1} steps.", hint=f"Use at most {MAX_STEPS}.")
    numbers = range(low, high + 1)
    words = f"Answer with a whole number from {low} to {high}.\n\n"
    return ScoreScale(tuple(map(str, numbers)), tuple(map(float, numbers)), words)


def _from_choices(choices: object) -> ScoreScale:
    if isinstance(choices, (str, bytes)) or not isinstance(choices, Iterable):
        raise OptionError(f"choices={choices!r} is not valid.", hint='Use numbers, or {"bad": 0, "good": 1}.')
    require_order("choices", choices)
    pairs = choices.items() if isinstance(choices, Mapping) else ((number, number) for number in choices)
    texts, numbers = [], []
    for name, number in pairs:
        if not isinstance(number, Real) or isinstance(number, bool) or not _is_finite(number):
            raise OptionError(f"The choice {number!r} is no number.", hint='Say its number: {"bad": 0, "good": 1}.')
        texts.append(str(name))
        numbers.append(float(number))
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise OptionError(f"The choice {twice!r} comes twice.", hint="Give each once.")
    labels = LabelSet.of(texts)
    words = labels.in_words().replace("these labels", "these", 1)
    return ScoreScale(labels.texts, tuple(numbers), words)


def _is_finite(number: Any) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:  # a whole number beyond all floats
        return False

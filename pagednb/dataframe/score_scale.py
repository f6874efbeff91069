"""The answers of ``score``: what the model may say, and the number that each stands for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

from pagednb.dataframe.label_set import LabelSet
from pagednb.errors import OptionError

MAX_STEPS = 101


@dataclasses.dataclass(frozen=True)
class ScoreScale:
    """Answers in their order: ``names`` as the caller wrote them, ``texts`` as the model does, and their numbers."""

    names: tuple[Any, ...]
    texts: tuple[str, ...]
    numbers: tuple[float, ...]
    words: str

    @classmethod
    def of(cls, choices: object, scale: object) -> ScoreScale:
        """Read ``scale=(lowest, highest)`` or ``choices=``: numbers, or a mapping of texts to numbers.

        Raises:
            OptionError: neither or both, or what makes no scale.
        """
        if (choices is None) == (scale is None):
            raise OptionError("score needs scale= or choices=.", hint="For example scale=(1, 5).")
        return _from_scale(scale) if choices is None else _from_choices(choices)


def _from_scale(scale: Any) -> ScoreScale:
    ok = isinstance(scale, (tuple, list)) and len(scale) == 2
    if not ok or not all(isinstance(end, int) and not isinstance(end, bool) for end in scale) or scale[0] >= scale[1]:
        raise OptionError(f"scale={scale!r} is not valid.", hint="Use two whole numbers, the lowest first: (1, 5).")
    low, high = scale
    if high - low >= MAX_STEPS:
        raise OptionError(f"scale={scale!r} has {high - low + 1} steps.", hint=f"Use at most {MAX_STEPS}.")
    numbers = range(low, high + 1)
    words = f"Answer with a whole number from {low} to {high}.\n\n"
    return ScoreScale(tuple(numbers), tuple(map(str, numbers)), tuple(map(float, numbers)), words)


def _from_choices(choices: object) -> ScoreScale:
    if isinstance(choices, (str, bytes)) or not isinstance(choices, Iterable):
        raise OptionError(f"choices={choices!r} is not valid.", hint='Use numbers, or {"bad": 0, "good": 1}.')
    names = tuple(choices)
    numbers = tuple(choices.values()) if isinstance(choices, Mapping) else names
    for number in numbers:
        if not isinstance(number, Real) or isinstance(number, bool) or not math.isfinite(number):
            raise OptionError(f"The choice {number!r} is no number.", hint='Say its number: {"bad": 0, "good": 1}.')
    labels = LabelSet.of([name if isinstance(name, str) else str(name) for name in names])
    words = labels.in_words().replace("these labels", "these", 1)
    return ScoreScale(names, labels.texts, tuple(map(float, numbers)), words)

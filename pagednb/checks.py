"""Questions that option classes ask of a value, whatever its type, and the sentence that refuses it.

``EngineConfig`` and ``SamplingParams`` use them. A value of a wrong type is a mistake like any other: nobody meets a
``TypeError`` from deep inside.
"""

from __future__ import annotations

import inspect
from numbers import Integral, Real
from typing import Any, TypeVar

from pagednb.errors import OptionError

T = TypeVar("T")

CLEAN_UNICODE = "Clean it: text.encode('utf-8', 'replace').decode()."

_FP32_MAX = 3.4e38


def require(ok: bool, option: str, value: Any, expected: str) -> None:
    """Raise OptionError, naming ``option`` and what it must be, unless ``ok``."""
    if not ok:
        raise OptionError(f"{option}={value!r} is not valid: it must be {expected}.")


def require_flags(**flags: object) -> None:
    """Raise OptionError for the first option that is neither True nor False: "no" is not, and neither is 1."""
    for option, value in flags.items():
        require(isinstance(value, bool), option, value, "True or False")


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded; one with half of a surrogate pair cannot, and no tokenizer takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_unicode(option: str, text: str) -> None:
    """Raise OptionError for a text that cannot be encoded."""
    if not is_unicode(text):
        raise OptionError(f"{option} is not valid Unicode (it holds a lone surrogate).", hint=CLEAN_UNICODE)


def plain_number(value: Any) -> Any:
    """Return a number of another library (NumPy's, from a frame's cell) as Python's, anything else as it is."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def is_whole(value: Any) -> bool:
    """Whether ``value`` is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether ``value`` is a number that fp32 can hold: not infinite, not NaN; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_FP32_MAX <= value <= _FP32_MAX


def is_64_bit(value: Any) -> bool:
    """Whether ``value`` is a whole number of 64 bits, signed or not."""
    return is_whole(value) and -(2**63) <= value < 2**64


def signed_by_fields(cls: type[T]) -> type[T]:
    """Give a dataclass the signature of its fields, which its ``__new__`` hides from help and completion."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return cls

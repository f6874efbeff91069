"""Which rows a trial run takes: ``sample=`` and ``random_state=`` of every verb."""

from __future__ import annotations

import dataclasses
import operator

import numpy as np

from pagednb.errors import OptionError


@dataclasses.dataclass(frozen=True)
class RowSample:
    """``num_rows`` rows, chosen by ``random_state``: the same numbers choose the same rows of a frame."""

    num_rows: int
    random_state: int

    @classmethod
    def of(cls, sample: object, random_state: object) -> RowSample | None:
        """Return the sample that a verb was asked for; None for all rows.

        Raises:
            OptionError: ``sample`` is no whole number above 0, or ``random_state`` none from 0 on.
        """
        num_rows = 1 if sample is None else _whole_number("sample", sample, at_least=1)
        seed = _whole_number("random_state", random_state, at_least=0)
        return None if sample is None else cls(num_rows, seed)

    def choose(self, positions: np.ndarray) -> np.ndarray:
        """Return ``num_rows`` of the positions in their order; all if there are no more."""
        if len(positions) <= self.num_rows:
            return positions
        return np.sort(np.random.default_rng(self.random_state).choice(positions, self.num_rows, replace=False))


def _whole_number(name: str, value: object, *, at_least: int) -> int:
    hint = f"Use a whole number of at least {at_least}."
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # NumPy's integers too
    except TypeError as error:
        raise OptionError(f"{name}={value!r} is not valid.", hint=hint) from error
    if number < at_least or isinstance(value, bool):
        raise OptionError(f"{name}={value!r} is not valid.", hint=hint)
    return number

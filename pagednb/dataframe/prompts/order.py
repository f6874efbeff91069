"""In which order rows run: those whose prompts begin alike run together, while their beginning is in the prefix cache.

A prompt begins with what stands before the template's first field, then with that field's value. So rows are sorted by
the leading fields as far as their values repeat; the first field with values of their own ends what rows can share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

_SAMPLE_ROWS = 1000
MAX_DISTINCT_SHARE = 0.5
"""A column in which more of the values than this are different has values of its own."""


def by_shared_beginnings(columns: Sequence[pd.Series], positions: np.ndarray) -> np.ndarray:
    """Return ``positions``, int64 ``[num_rows]``, so that rows with equal leading ``columns`` follow each other.

    Groups stand in the order in which they first occur, and rows of a group in theirs.
    """
    codes: list[np.ndarray] = []
    for column in columns:
        if not _repeats(column, positions[:: max(1, len(positions) // _SAMPLE_ROWS)]):
            break
        if (all_codes := _codes(column, positions)) is None:
            break
        codes.append(all_codes)
    if not codes:
        return positions
    ordered: np.ndarray = positions[np.lexsort(codes[::-1])]
    return ordered


def _repeats(column: pd.Series, sample: np.ndarray) -> bool:
    """Whether values repeat among the rows of ``sample``."""
    codes = _codes(column, sample)
    return codes is not None and len(np.unique(codes)) <= MAX_DISTINCT_SHARE * len(sample)


def _codes(column: pd.Series, positions: np.ndarray) -> np.ndarray | None:
    """Number the values in order of appearance, int64 ``[num_rows]``; None where they cannot be compared."""
    try:
        codes: np.ndarray = pd.factorize(column.iloc[positions])[0]
    except (TypeError, NotImplementedError):  # lists and the like, in Python and in Arrow
        return None
    return codes

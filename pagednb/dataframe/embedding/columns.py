"""From vectors to a column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pagednb.dataframe.results.typed_columns import object_column
from pagednb.engine.embedding import as_unit


def vector_column(vectors: Sequence[np.ndarray | None], index: pd.Index, *, normalize: bool) -> pd.Series:
    """Return a series of arrays float32 ``[hidden_size]``, of length 1 if asked for; None where there is none.

    Each row has an array of its own, also where equal rows share an answer.
    """
    made = as_unit if normalize else np.copy
    return object_column([None if vector is None else made(vector) for vector in vectors], index)

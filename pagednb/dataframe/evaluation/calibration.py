"""Whether confidences mean what they say, in figures."""

from __future__ import annotations

import dataclasses

import pandas as pd


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Whether confidences mean what they say.

    Attributes:
        error: expected calibration error: 0 when labels said with confidence p are right in a share p of rows.
        table: a row for each step of confidence: rows, mean confidence, accuracy.
        num_without_confidence: rows with labels but no confidence; left out here.
    """

    error: float
    table: pd.DataFrame
    num_without_confidence: int

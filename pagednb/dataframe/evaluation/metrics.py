"""How well labels agree with gold labels, in numbers: from a confusion matrix, and from confidences.

Pure arithmetic over NumPy arrays. A figure whose denominator is zero is NaN, never 0 or 1.
"""

from __future__ import annotations

import math

import numpy as np

WILSON_Z = 1.959963984540054
"""The normal distribution's 97.5 % point: intervals hold in 95 % of cases."""


def confusion_counts(gold: np.ndarray, predicted: np.ndarray, num_labels: int) -> np.ndarray:
    """Return int64 ``[num_labels, num_labels]``: how often gold label i (row) was called j (column).

    ``gold`` and ``predicted`` are label codes in ``0 .. num_labels - 1``.
    """
    cells = np.bincount(gold * num_labels + predicted, minlength=num_labels * num_labels)
    return cells.reshape(num_labels, num_labels)


def accuracy(confusion: np.ndarray) -> float:
    """Share of rows on the diagonal."""
    return _ratio(int(np.trace(confusion)), int(confusion.sum()))


def accuracy_interval(confusion: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the accuracy (Wilson 1927), sound for few rows and near 0 and 1."""
    num_rows = int(confusion.sum())
    if not num_rows:
        return math.nan, math.nan
    share, z2 = accuracy(confusion), WILSON_Z**2
    centre = (share + z2 / (2 * num_rows)) / (1 + z2 / num_rows)
    spread = WILSON_Z * math.sqrt(share * (1 - share) / num_rows + z2 / (4 * num_rows**2)) / (1 + z2 / num_rows)
    return max(0.0, centre - spread), min(1.0, centre + spread)


def cohens_kappa(confusion: np.ndarray) -> float:
    """Agreement beyond chance (Cohen 1960); NaN where chance alone agrees always."""
    total = int(confusion.sum())
    by_chance = int((confusion.sum(axis=0) * confusion.sum(axis=1)).sum())
    return _ratio(int(np.trace(confusion)) * total - by_chance, total * total - by_chance)


def class_scores(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and F1, each float64 ``[num_labels]``."""
    hits, called, support = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    return _ratios(hits, called), _ratios(hits, support), _ratios(2 * hits, called + support)


def reliability(confidence: np.ndarray, is_right: np.ndarray, num_bins: int) -> tuple[np.ndarray, ...]:
    """Return count, mean confidence and accuracy of ``num_bins`` equal steps of confidence.

    Step b holds ``b / num_bins < confidence <= (b + 1) / num_bins``; the first holds 0 too. Empty steps have NaN.
    """
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    steps = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    counts = np.bincount(steps, minlength=num_bins)
    sums = (np.bincount(steps, weights=values, minlength=num_bins) for values in (confidence, is_right))
    return (counts, *(_ratios(total, counts) for total in sums))


def expected_calibration_error(counts: np.ndarray, mean_confidence: np.ndarray, accuracies: np.ndarray) -> float:
    """Mean distance of confidence and accuracy, weighed by rows (Naeini et al. 2015)."""
    gaps = np.nan_to_num(np.abs(mean_confidence - accuracies))
    return _ratio(float((counts * gaps).sum()), float(counts.sum()))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _ratios(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    ratios = np.full(len(parts), math.nan)
    np.divide(parts, wholes, out=ratios, where=wholes != 0)
    return ratios

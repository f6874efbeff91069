"""Draws an evaluation with matplotlib, which is imported here alone and only when a plot is asked for."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pagednb.dataframe.evaluation.calibration import Calibration
from pagednb.errors import OptionError


def plot_evaluation(confusion: pd.DataFrame, title: str, calibration: Calibration | None) -> Any:
    """Return the axes: the confusion matrix (rows are gold), and the reliability diagram where there are confidences.

    Raises:
        OptionError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise OptionError("Plots need matplotlib.", hint="pip install matplotlib") from error
    num_plots = 1 if calibration is None else 2
    _, axes = pyplot.subplots(1, num_plots, figsize=(4.8 * num_plots, 4.2), squeeze=False, layout="constrained")
    _draw_confusion(axes[0, 0], confusion, title)
    if calibration is not None:
        _draw_reliability(axes[0, 1], calibration)
    return axes[0]


def _draw_confusion(axis: Any, counts: pd.DataFrame, title: str) -> None:
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0).to_numpy()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    labels = [str(label) for label in counts.columns]
    axis.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xlabel="called", ylabel="gold", title=title)
    for row, column in zip(*counts.to_numpy().nonzero(), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, f"{counts.iat[row, column]:,}", ha="center", va="center", color=colour)


def _draw_reliability(axis: Any, calibration: Calibration) -> None:
    table = calibration.table.dropna()
    axis.plot([0, 1], [0, 1], linestyle="--", color="grey", linewidth=1)
    sizes = 20 + 280 * table["rows"] / table["rows"].sum()
    axis.scatter(table["confidence"], table["accuracy"], s=sizes)
    axis.set(xlim=(0, 1.03), ylim=(0, 1.03), xlabel="confidence", ylabel="accuracy")
    axis.set_title(f"expected calibration error {calibration.error:.3f}")

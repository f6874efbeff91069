"""Draws an evaluation with matplotlib, which is imported here alone and only when a plot is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pagednb.errors import OptionError

if TYPE_CHECKING:
    from pagednb.dataframe.evaluate import Evaluation


def plot_evaluation(evaluation: Evaluation) -> Any:
    """Return the axes: the confusion matrix, and the reliability diagram where there are confidences.

    Raises:
        OptionError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise OptionError("Plots need matplotlib.", hint="pip install matplotlib") from error
    num_plots = 1 if evaluation.calibration is None else 2
    _, axes = pyplot.subplots(1, num_plots, figsize=(4.8 * num_plots, 4.2), squeeze=False, layout="constrained")
    _draw_confusion(axes[0, 0], evaluation)
    if evaluation.calibration is not None:
        _draw_reliability(axes[0, 1], evaluation)
    return axes[0]


def _draw_confusion(axis: Any, evaluation: Evaluation) -> None:
    counts = evaluation.confusion
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0).to_numpy()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    labels = [str(label) for label in counts.columns]
    axis.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xlabel="called", ylabel="gold", title=f"{evaluation.accuracy:.1%} of {evaluation.num_rows:,} rows")
    for row, column in zip(*counts.to_numpy().nonzero(), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, f"{counts.iat[row, column]:,}", ha="center", va="center", color=colour)


def _draw_reliability(axis: Any, evaluation: Evaluation) -> None:
    assert evaluation.calibration is not None
    table = evaluation.calibration.table.dropna()
    axis.plot([0, 1], [0, 1], linestyle="--", color="grey", linewidth=1)
    sizes = 20 + 280 * table["rows"] / table["rows"].sum()
    axis.scatter(table["confidence"], table["accuracy"], s=sizes)
    axis.set(xlim=(0, 1.03), ylim=(0, 1.03), xlabel="confidence", ylabel="accuracy")
    axis.set_title(f"expected calibration error {evaluation.calibration.error:.3f}")

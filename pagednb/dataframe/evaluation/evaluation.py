"""What ``pagednb.evaluate`` found: one object that prints itself and can be plotted."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

from pagednb.dataframe.evaluation.calibration import Calibration
from pagednb.dataframe.results.html_table import html_table


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Evaluation:
    """Labels against gold labels.

    Attributes:
        num_rows: rows with both labels; all other figures are about these.
        num_without_gold, num_without_label: rows left out; one that lacks both counts as without gold.
        accuracy, accuracy_interval: share of equal labels, and its 95 % interval (Wilson).
        kappa: Cohen's kappa.
        macro_f1: mean F1 of the classes that occur.
        per_class: precision, recall, F1, support (rows of that gold label) and called (rows given that label).
        confusion: rows are gold labels, columns what was called.
        calibration: None without confidences.
    """

    num_rows: int
    num_without_gold: int
    num_without_label: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    kappa: float
    macro_f1: float
    per_class: pd.DataFrame
    confusion: pd.DataFrame
    calibration: Calibration | None

    def plot(self) -> Any:
        """Draw the confusion matrix, and the reliability diagram if there are confidences; return the axes.

        Raises:
            OptionError: matplotlib is not installed.
        """
        from pagednb.dataframe.evaluation.plot import plot_evaluation

        title = f"{self.accuracy:.1%} of {self.num_rows:,} rows"
        return plot_evaluation(self.confusion, title, self.calibration)

    def __repr__(self) -> str:
        parts = [self.summary, self._rounded.to_string(), f"gold label down, called across\n{self.confusion}"]
        if self.calibration is not None:
            parts.append(self.calibration.table.dropna().round(3).to_string())
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        labels = [str(label) for label in self.confusion.columns]
        per_class = html_table(["", *self.per_class.columns], self._rounded.itertuples(name=None))
        shares = self.confusion.div(self.confusion.sum(axis=1).clip(lower=1), axis=0).to_numpy().tolist()
        confusion = html_table(["gold \\ called", *labels], self.confusion.itertuples(name=None), shares=shares)
        parts = [f"<pre>{self.summary}</pre>", per_class, confusion]
        if self.calibration is not None:
            table = self.calibration.table.dropna().round(3)
            parts.append(html_table(["confidence", *table.columns], table.itertuples(name=None)))
        return "".join(parts)

    @property
    def summary(self) -> str:
        """The figures that are single numbers, a line each."""
        low, high = self.accuracy_interval
        lines = [f"accuracy     {self.accuracy:.1%} of {self.num_rows:,} rows (95 % interval {low:.1%} to {high:.1%})"]
        lines += [f"kappa        {self.kappa:.3f}", f"macro F1     {self.macro_f1:.3f}"]
        if self.calibration is not None:
            lines.append(f"calibration  {self.calibration.error:.3f} expected error")
            if self.calibration.num_without_confidence:
                lines[-1] += f" ({self.calibration.num_without_confidence:,} rows without confidence left out)"
        if self.num_without_gold or self.num_without_label:
            lines.append(
                f"left out     {self.num_without_label:,} without label, {self.num_without_gold:,} without gold"
            )
        return "\n".join(lines)

    @property
    def _rounded(self) -> pd.DataFrame:
        return self.per_class.round(3)

"""From the probabilities of labels to columns: the most likely label, how sure it is, all probabilities.

Arrays of probabilities are float64 ``[num_rows, num_questions, num_labels]``, NaN in rows without a value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from pagednb.dataframe.results.columns import TEXT_DTYPE
from pagednb.dataframe.results.outcome import RowOutcome
from pagednb.dataframe.results.typed_columns import object_column
from pagednb.errors import OptionError
from pagednb.structured_output.field_spec import FieldSpec

VERDICTS = ("yes", "Yes", "no", "No")
"""What a question with yes or no is answered with; models differ in how they write it."""


def probabilities_of(outcome: RowOutcome[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return all rows' probabilities; ``shape`` is (num_questions, num_labels)."""
    probabilities = np.full((len(outcome.values), *shape), np.nan)
    known = [value for value in outcome.values if value is not None]
    if known:
        probabilities[[value is not None for value in outcome.values]] = np.stack(known)
    return probabilities


def calibrated(probabilities: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return probabilities divided by what the model says of no content at all, normalised to one again."""
    weighted = probabilities / np.maximum(prior, np.finfo(np.float64).tiny)
    result: np.ndarray = weighted / weighted.sum(axis=-1, keepdims=True)
    return result


def yes_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Return the probability of yes, ``[num_rows, num_questions]``, from those of ``VERDICTS``."""
    yes: np.ndarray = probabilities[:, :, :2].sum(axis=-1)
    return yes


def probability_column(probabilities: np.ndarray, names: Sequence[Any], index: pd.Index) -> pd.Series:
    """Return a dict a row from ``[num_rows, num_names]``, None for a row without a value."""
    known = ~np.isnan(probabilities).any(axis=1)
    rows = probabilities.tolist()
    return object_column(
        [dict(zip(names, row, strict=True)) if ok else None for ok, row in zip(known.tolist(), rows, strict=True)],
        index,
    )


def probabilities_by(names: Sequence[str]) -> FieldSpec:
    """Return what ``probability_column`` holds."""
    return FieldSpec(kind="object", fields=tuple((name, FieldSpec(kind="number")) for name in names))


@dataclasses.dataclass(frozen=True)
class LabelColumns:
    """Columns of ``classify``, and reasons for rows whose confidence is below ``threshold``: these get no label."""

    labels: Sequence[str]
    index: pd.Index
    into: str
    has_confidence: bool
    has_probs: bool
    threshold: float | None

    def one(self, given: np.ndarray) -> dict[str, Any]:
        """Return the most likely label of each row as a category; ``given`` is of one question."""
        probabilities = given[:, 0]
        confidence = probabilities.max(axis=-1, initial=-1.0)
        is_sure = self._is_sure(confidence)
        best = np.where(is_sure, np.where(np.isnan(probabilities), 0, probabilities).argmax(axis=-1), -1)
        label = pd.Categorical.from_codes(best, categories=pd.Index(self.labels, dtype=TEXT_DTYPE))
        return self._with_extras(label, confidence, probabilities)

    def many(self, given: np.ndarray) -> dict[str, Any]:
        """Return the labels that apply, a list a row; ``given`` holds verdicts on each."""
        yes = yes_probabilities(given)
        confidence = self._confidence_of_many(yes)
        chosen = [
            [label for label, p in zip(self.labels, row, strict=True) if p >= 0.5] if ok else None
            for row, ok in zip(yes.tolist(), self._is_sure(confidence).tolist(), strict=True)
        ]
        return self._with_extras(object_column(chosen, self.index), confidence, yes)

    def holds(self, multi: bool) -> dict[str, FieldSpec]:
        """Return what the objects in these columns are."""
        labels = {self.into: FieldSpec(kind="array", items=FieldSpec(kind="string"))} if multi else {}
        return labels | {f"{self.into}_probs": probabilities_by(self.labels)}

    def notes_on_one(self, given: np.ndarray) -> dict[int, str]:
        """Return the reasons by row."""
        return self._notes(given[:, 0].max(axis=-1, initial=-1.0))

    def notes_on_many(self, given: np.ndarray) -> dict[int, str]:
        """Return the reasons by row."""
        return self._notes(self._confidence_of_many(yes_probabilities(given)))

    def _confidence_of_many(self, yes: np.ndarray) -> np.ndarray:
        """How likely all verdicts are right together, if they are independent."""
        confidence: np.ndarray = np.maximum(yes, 1 - yes).prod(axis=-1)
        return confidence

    def _is_sure(self, confidence: np.ndarray) -> np.ndarray:
        is_known: np.ndarray = ~np.isnan(confidence)
        return is_known if self.threshold is None else is_known & (confidence >= self.threshold)

    def _notes(self, confidence: np.ndarray) -> dict[int, str]:
        if self.threshold is None:
            return {}
        rows = np.flatnonzero(confidence < self.threshold).tolist()
        limit = f"below min_confidence={self.threshold}"
        return {row: f"The confidence is {confidence[row]:.3f}, {limit}." for row in rows}

    def _with_extras(self, labels: Any, confidence: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
        columns = {self.into: labels}
        if self.has_confidence:
            columns[f"{self.into}_confidence"] = confidence.astype(np.float32)
        if self.has_probs:
            columns[f"{self.into}_probs"] = probability_column(probabilities, self.labels, self.index)
        return columns


def checked_probability(name: str, value: Any) -> float:
    """Return ``value`` as a plain number, or raise OptionError unless it is one from 0 to 1."""
    if isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) <= 1:
        return float(value)
    raise OptionError(f"{name}={value!r} is not valid.", hint="Use a number from 0 to 1.")

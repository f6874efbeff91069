"""``pagednb.evaluate``: labels against gold labels.

Rows are matched by position. Rows without a gold label or without a label are left out and counted, so every figure is
about the rows that have both.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pagednb.checks import is_whole
from pagednb.dataframe.evaluation import metrics
from pagednb.dataframe.evaluation.calibration import Calibration
from pagednb.dataframe.evaluation.evaluation import Evaluation
from pagednb.errors import OptionError


def evaluate(pred: Any, gold: Any, *, confidence: Any = None, num_bins: int = 10) -> Evaluation:
    """Compare labels with gold labels, row by row.

    Args:
        pred: Labels as a Series, array or list. NA: no label; such rows are left out and counted.
        gold: Gold labels of the same rows. NA: unknown; left out and counted.
        confidence: Probability of each label in 0..1, for the calibration; NA where there is none. Of labels that are
            True or False the probability of True, as ``filter`` writes it.
        num_bins: Steps of confidence of the calibration.

    Rows are matched by position; two series must have one index.

    Classes come in the order of the categories where labels are categorical, else sorted; categories that never occur
    are listed, with NaN for what is undefined.

    Raises:
        OptionError: lengths, indexes or types of labels differ, no row has both, or a confidence is outside 0..1.
    """
    _check_rows(pred, gold, "gold")
    _check_rows(pred, confidence, "confidence")
    labels, truth = _as_series(pred, "pred"), _as_series(gold, "gold")
    has_gold, has_label = truth.notna().to_numpy(), labels.notna().to_numpy()
    is_used = has_gold & has_label
    if not is_used.any():
        raise OptionError("No row has both a label and a gold label.", hint="Look at pred.isna() and gold.isna().")
    _check_kinds(labels[is_used], truth[is_used])
    classes = _classes(truth, labels, is_used)
    code = {label: index for index, label in enumerate(classes)}
    gold_codes, label_codes = (
        np.array([code[value] for value in values[is_used].tolist()]) for values in (truth, labels)
    )
    counts = metrics.confusion_counts(gold_codes, label_codes, len(classes))
    precision, recall, f1 = metrics.class_scores(counts)
    scores = {"precision": precision, "recall": recall, "f1": f1}
    sums = {"support": counts.sum(axis=1), "called": counts.sum(axis=0)}
    return Evaluation(
        num_rows=int(is_used.sum()),
        num_without_gold=int((~has_gold).sum()),
        num_without_label=int((has_gold & ~has_label).sum()),
        accuracy=metrics.accuracy(counts),
        accuracy_interval=metrics.accuracy_interval(counts),
        kappa=metrics.cohens_kappa(counts),
        macro_f1=float(np.nanmean(f1)),
        per_class=pd.DataFrame({**scores, **sums}, index=_index(classes, "label")),
        confusion=pd.DataFrame(counts, index=_index(classes, "gold"), columns=_index(classes, "called")),
        calibration=_calibration(confidence, labels, is_used, gold_codes == label_codes, num_bins),
    )


def _calibration(
    confidence: Any, labels: pd.Series, is_used: np.ndarray, is_right: np.ndarray, num_bins: int
) -> Calibration | None:
    if confidence is None:
        return None
    if not is_whole(num_bins) or num_bins < 1:
        raise OptionError(f"num_bins={num_bins!r} is not valid.", hint="Use a whole number of at least 1.")
    given = _as_series(confidence, "confidence")
    try:
        values = given.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)[is_used]
    except (TypeError, ValueError) as error:
        raise OptionError("confidence holds something other than numbers.") from error
    is_no = np.array([label is False for label in labels[is_used].tolist()])
    is_known = ~np.isnan(values)
    known = values[is_known]
    # a float32 probability may end a little above 1
    if ((known < 0) | (known > 1 + 1e-6)).any():
        raise OptionError("A confidence is outside 0..1.", hint="Give probabilities, not per cent.")
    known = np.where(is_no[is_known], 1 - known, known).clip(0, 1)
    steps = metrics.reliability(known, is_right[is_known], num_bins)
    bounds = [f"{step / num_bins:.3g} to {(step + 1) / num_bins:.3g}" for step in range(num_bins)]
    columns = dict(zip(("rows", "confidence", "accuracy"), steps, strict=True))
    table = pd.DataFrame(columns, index=pd.Index(bounds, name="step"))
    return Calibration(metrics.expected_calibration_error(*steps), table, int((~is_known).sum()))


def _as_series(values: Any, name: str) -> pd.Series:
    if isinstance(values, pd.Series):
        return values
    if isinstance(values, (pd.DataFrame, str)) or not hasattr(values, "__len__"):
        raise OptionError(f"{name} is a {type(values).__name__}, not labels.", hint="Give one column: df['team'].")
    return pd.Series(values) if hasattr(values, "dtype") else pd.Series(list(values), dtype=object)


def _check_rows(pred: Any, other: Any, name: str) -> None:
    """Raise OptionError for things that cannot be the same rows. Things of no length are refused by ``_as_series``."""
    if hasattr(pred, "__len__") and hasattr(other, "__len__") and len(pred) != len(other):
        raise OptionError(f"pred has {len(pred):,} rows and {name} {len(other):,}.", hint="Give the same rows.")
    are_series = isinstance(pred, pd.Series) and isinstance(other, pd.Series)
    if are_series and not pred.index.equals(other.index):
        raise OptionError(
            f"pred and {name} have different indexes, so their rows may not be the same.",
            hint="Take both from one frame, or pass .to_numpy() to match them by position.",
        )


def _check_kinds(labels: pd.Series, truth: pd.Series) -> None:
    """Refuse labels that read alike and are never equal, as 1 and "1"."""
    called, gold = labels.astype(object), truth.astype(object)
    if not called.isin(gold).any() and (alike := called[called.astype(str).isin(gold.astype(str))]).size:
        raise OptionError(
            f"pred and gold both have {str(alike.iloc[0])!r}, but of different types, so no row is right.",
            hint="Convert one of them, as with .astype(str).",
        )


def _classes(truth: pd.Series, labels: pd.Series, is_used: np.ndarray) -> list[Hashable]:
    listed: dict[Hashable, None] = {}
    for series in (truth, labels):
        if isinstance(series.dtype, pd.CategoricalDtype):
            listed |= dict.fromkeys(series.cat.categories.tolist())
    try:
        occurring = {*truth[is_used].tolist(), *labels[is_used].tolist()} - listed.keys()
    except TypeError as error:
        raise OptionError("A label is a list or a dict.", hint="evaluate compares one label a row.") from error
    return [*listed, *sorted(occurring, key=lambda label: (str(type(label)), label))]


def _index(classes: Sequence[Hashable], name: str) -> pd.Index:
    return pd.Index(classes, name=name, dtype=object)

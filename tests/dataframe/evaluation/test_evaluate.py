"""``pagednb.evaluate`` against the textbook formulas, counted row by row in plain Python."""

from __future__ import annotations

import math
import random
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pagednb as pnb
from pagednb.dataframe.evaluation.evaluate import evaluate
from pagednb.errors import OptionError

LABELS = ["billing", "technical", "other <b>"]


def drawn(seed: int, num_rows: int = 83) -> tuple[list[Any], list[Any], list[Any]]:
    """Labels, gold labels and confidences, with NA here and there."""
    rng = random.Random(seed)
    gold = [rng.choice([*LABELS, None]) if rng.random() < 0.3 else rng.choice(LABELS) for _ in range(num_rows)]
    pred = [label if rng.random() < 0.7 else rng.choice([*LABELS, None]) for label in gold]
    confidence = [None if rng.random() < 0.1 else rng.choice([rng.random(), 0.0, 0.5, 1.0]) for _ in gold]
    return pred, gold, confidence


@pytest.mark.parametrize("seed", range(20))
def test_figures_are_the_textbook_s(seed: int) -> None:
    pred, gold, confidence = drawn(seed)
    result = evaluate(pd.Series(pred), pd.Series(gold), confidence=pd.Series(confidence, dtype="Float32"))
    pairs = [(p, g) for p, g in zip(pred, gold, strict=True) if p is not None and g is not None]
    total = len(pairs)
    assert result.num_rows == total
    assert result.num_without_gold == gold.count(None)
    assert result.num_without_label == sum(p is None and g is not None for p, g in zip(pred, gold, strict=True))
    observed = sum(p == g for p, g in pairs) / total
    assert result.accuracy == pytest.approx(observed)
    by_chance = sum(
        (sum(p == label for p, _ in pairs) / total) * (sum(g == label for _, g in pairs) / total) for label in LABELS
    )
    assert result.kappa == pytest.approx((observed - by_chance) / (1 - by_chance))
    f1s = []
    for label in LABELS:
        hits = sum(p == g == label for p, g in pairs)
        precision = hits / sum(p == label for p, _ in pairs)
        recall = hits / sum(g == label for _, g in pairs)
        f1s.append(2 * precision * recall / (precision + recall))
        row = result.per_class.loc[label]
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx((precision, recall, f1s[-1]))
        for other in LABELS:
            assert result.confusion.loc[label, other] == sum(pair == (other, label) for pair in pairs)
    assert result.macro_f1 == pytest.approx(sum(f1s) / 3)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("num_bins", [1, 4, 10])
def test_calibration_is_counted_step_by_step(seed: int, num_bins: int) -> None:
    pred, gold, confidence = drawn(seed)
    calibration = evaluate(pred, gold, confidence=confidence, num_bins=num_bins).calibration
    assert calibration is not None
    rows = [row for row in zip(pred, gold, confidence, strict=True) if row[0] is not None and row[1] is not None]
    known = [row for row in rows if row[2] is not None]
    assert calibration.num_without_confidence == len(rows) - len(known)
    error = 0.0
    for step in range(num_bins):
        low, high = step / num_bins, (step + 1) / num_bins
        inside = [row for row in known if low < row[2] <= high or (step == 0 and row[2] == 0)]
        assert calibration.table["rows"].iloc[step] == len(inside)
        if inside:
            right = sum(p == g for p, g, _ in inside) / len(inside)
            said = sum(c for *_, c in inside) / len(inside)
            assert calibration.table["accuracy"].iloc[step] == pytest.approx(right)
            assert calibration.table["confidence"].iloc[step] == pytest.approx(said)
            error += len(inside) / len(known) * abs(right - said)
    assert calibration.error == pytest.approx(error)


def test_the_interval_solves_wilson_s_equation() -> None:
    result = evaluate(["a"] * 9 + ["b"], ["a"] * 10)
    for bound in result.accuracy_interval:  # |share - bound| = z * sqrt(bound (1 - bound) / n)
        assert abs(0.9 - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / 10), rel=1e-5)


def test_what_is_undefined_is_nan() -> None:
    result = evaluate(["a", "a"], pd.Series(["a", "a"], dtype=pd.CategoricalDtype(["b", "a"])))
    assert list(result.per_class.index) == ["b", "a"]
    assert math.isnan(result.kappa) and result.accuracy == 1.0 and result.macro_f1 == 1.0
    assert result.per_class.loc["b", ["precision", "recall", "f1"]].isna().all()


def test_other_kinds_of_labels() -> None:
    assert evaluate(np.array([1, 2, 3]), np.array([1, 2, 2])).accuracy == pytest.approx(2 / 3)
    nullable = pd.Series([True, None, False], dtype="boolean")
    assert evaluate(nullable, pd.Series([True, True, True])).accuracy == 0.5
    assert evaluate([1, "a"], ["a", 1]).accuracy == 0.0


def test_lists_and_arrays_are_matched_by_position() -> None:
    index = pd.Index([7, 3])
    gold = pd.Series(["a", "b"], index=index)
    assert evaluate(["a", "b"], gold, confidence=pd.Series([1.0, 1.0])).accuracy == 1.0
    assert evaluate(gold, np.array(["a", "b"]), confidence=[1.0, 1.0]).accuracy == 1.0


@pytest.mark.parametrize("dtype", [bool, "boolean", object])
def test_the_confidence_of_yes_is_turned_for_no(dtype: Any) -> None:
    said = pd.Series([True, False, False], dtype=dtype)
    result = evaluate(said, [True, False, False], confidence=[0.9, 0.1, 0.2])
    assert result.calibration is not None
    assert result.calibration.error == pytest.approx((0.1 + 0.1 + 0.2) / 3)


@pytest.mark.parametrize(
    ("pred", "gold", "options", "message"),
    [
        (["a"], ["a", "b"], {}, "pred has 1 rows and gold 2"),
        ([None], ["a"], {}, "No row has both"),
        ([], [], {}, "No row has both"),
        ([["a"]], [["a"]], {}, "list or a dict"),
        (pd.Series(["a"], index=[3]), pd.Series(["a"], index=[4]), {}, "different indexes"),
        (pd.Series(["a", "b"], index=[1, 0]), pd.Series(["a", "b"]), {}, "different indexes"),
        (["a", "b"], pd.Series(["a"], index=[3]), {}, "pred has 2 rows and gold 1"),
        ([1, 2], ["1", "2"], {}, "both have '1', but of different types"),
        (["a"], ["a"], {"confidence": [0.5], "num_bins": True}, "num_bins=True"),
        (["a"], ["a"], {"confidence": [87.0]}, "outside 0..1"),
        (["a"], ["a"], {"confidence": ["high"]}, "other than numbers"),
        (["a"], ["a"], {"confidence": [0.5], "num_bins": 0}, "num_bins=0"),
        (["a"], ["a"], {"confidence": [0.5, 0.5]}, "confidence 2"),
        (pd.DataFrame({"a": ["a"]}), ["a"], {}, "pred is a DataFrame"),
        ("a", ["a"], {}, "pred is a str"),
    ],
)
def test_mistakes_end_as_sentences(pred: Any, gold: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        evaluate(pred, gold, **options)


def test_it_prints_itself() -> None:
    pred, gold, confidence = drawn(0)
    result = pnb.evaluate(pred, gold, confidence=confidence)
    text, html = repr(result), result._repr_html_()
    assert f"{result.accuracy:.1%} of {result.num_rows}" in text and "without label" in text
    assert "other <b>" in text and "other <b>" not in html and "other &lt;b&gt;" in html
    assert html.count("<table ") == html.count("</table>") == 3
    assert "color:" not in html  # text keeps the theme's colour
    assert "<td>1.000</td>" in evaluate(["a"], ["a"])._repr_html_()  # figures of a column have the same digits


def test_it_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib import pyplot

    pred, gold, confidence = drawn(0)
    axes = evaluate(pred, gold, confidence=confidence).plot()
    assert [axis.get_xlabel() for axis in axes] == ["called", "confidence"]
    assert {text.get_text() for text in axes[0].texts}
    assert len(evaluate(pred, gold).plot()) == 1
    pyplot.close("all")


def test_without_matplotlib_a_plot_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(OptionError, match="Plots need matplotlib"):
        evaluate(["a"], ["a"]).plot()

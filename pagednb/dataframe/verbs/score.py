"""The verb ``score``: a number for each row, the mean of the model's answers by their exact probabilities."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pagednb.checks import require_flags
from pagednb.dataframe.labels.calibration import CalibrateOption, check_calibrate
from pagednb.dataframe.labels.columns import probabilities_by, probability_column
from pagednb.dataframe.labels.run import LabelRun
from pagednb.dataframe.labels.scale import ScoreScale
from pagednb.dataframe.prompts.sample import RowSample
from pagednb.dataframe.prompts.truncation import TruncateOption
from pagednb.dataframe.results.failures import ErrorPolicy, check_errors
from pagednb.dataframe.rows.verb_rows import Accessor, Target
from pagednb.dataframe.run.options import CacheOption, CheckpointOption, RunOptions
from pagednb.dataframe.run.progress import ProgressOption
from pagednb.dataframe.run.sampling import refuse_sampling

DEFAULT_INTO = "score"


def score(
    self: Accessor,
    template: Hashable = None,
    *,
    scale: tuple[int, int] | None = None,
    choices: Sequence[float] | Mapping[str, float] | None = None,
    probs: bool = True,
    calibrate: CalibrateOption = None,
    system: str | None = None,
    into: str | None = None,
    errors: ErrorPolicy = "coerce",
    progress: ProgressOption = None,
    sample: int | None = None,
    random_state: int = 0,
    truncate: TruncateOption = "error",
    cache: CacheOption = True,
    checkpoint: CheckpointOption = None,
    background: bool = False,
    **unknown: Any,
) -> Any:
    """Return a copy of the frame with a ``Float64`` column: the expected value of the model's answer on a scale.

    Of a series, return these columns as a frame, or with ``probs=False`` a series.

    Args:
        template: What is rated and how, as ``"How angry is this customer?\\n\\n{text}"``. The possible answers are put
            before it.
        scale: The lowest and the highest whole number; all between them are possible.
        choices: Numbers, or a mapping of answers to numbers such as ``{"bad": 0, "fair": 0.5, "good": 1}``, in the
            place of ``scale``.
        probs: Add ``<into>_probs``, a dict of the probabilities of all answers, as the model writes them.
        calibrate, system, errors, progress, sample, random_state, truncate, cache, checkpoint, background: As in
            ``classify``.
        into: The new column, "score" if not given.

    Raises:
        TemplateError, OptionError, EngineNotLoadedError, CheckpointError, RowErrors: as in ``classify``.
    """
    refuse_sampling(score, unknown)
    require_flags(probs=probs)
    rows = self.rows
    answers = ScoreScale.of(choices, scale)
    check_calibrate(calibrate)
    target = Target.of(into, DEFAULT_INTO)
    check_errors(errors)
    trial = RowSample.of(sample, random_state)
    kept: dict[str, Any] = {"cache": cache, "checkpoint": checkpoint}
    options = RunOptions(sample=trial, truncate=truncate, background=background, progress=progress, **kept)

    def columns(given: np.ndarray) -> dict[str, Any]:
        probabilities = given[:, 0]
        expected = (probabilities * np.array(answers.numbers)).sum(axis=-1)  # @ would round by the number of rows
        made: dict[str, Any] = {target.into: pd.arrays.FloatingArray(np.nan_to_num(expected), np.isnan(expected))}
        if probs:
            made[f"{target.into}_probs"] = probability_column(probabilities, answers.texts, rows.data.index)
        return made

    asked: dict[str, Any] = {"scale": scale and [int(end) for end in scale], "probs": probs, "calibrate": calibrate}
    asked["choices"] = None if choices is None else answers.as_choices()
    return LabelRun(
        verb="score",
        rows=rows,
        template=template,
        target=target,
        errors=errors,
        labels=answers.texts,
        words=answers.words,
        columns=columns,
        beside=[f"{target.into}_probs"] if probs else [],
        holds={f"{target.into}_probs": probabilities_by(answers.texts)},
        system=system,
        calibrate=calibrate,
        asked=asked,
    ).start(options)

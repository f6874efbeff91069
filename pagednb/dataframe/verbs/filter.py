"""The verb ``filter``: for each row whether something is so, with the exact probability of yes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from pagednb.checks import require_flags
from pagednb.dataframe.labels.calibration import CalibrateOption, check_calibrate
from pagednb.dataframe.labels.columns import VERDICTS, checked_probability, yes_probabilities
from pagednb.dataframe.labels.run import LabelRun
from pagednb.dataframe.prompts.sample import RowSample
from pagednb.dataframe.prompts.truncation import TruncateOption
from pagednb.dataframe.results.failures import ErrorPolicy, check_errors
from pagednb.dataframe.rows.verb_rows import Accessor, Target
from pagednb.dataframe.run.options import CacheOption, CheckpointOption, RunOptions
from pagednb.dataframe.run.progress import ProgressOption
from pagednb.dataframe.run.sampling import refuse_sampling

DEFAULT_INTO = "keep"
QUESTION = "\n\nAnswer yes or no.\n"


def filter(
    self: Accessor,
    template: Hashable = None,
    *,
    threshold: float = 0.5,
    confidence: bool = False,
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
    """Return a copy of the frame with a ``boolean`` column: whether the model answers the template with yes.

    Of a series, return this column as a series: ``texts[texts.llm.filter("Is this about money? {}")]``.

    Args:
        template: A question with the answer yes or no, as ``"Is this a complaint?\\n\\n{text}"``; that answer is asked
            for behind it.
        threshold: Rows are True whose probability of yes is at least this. Yes is "yes" or "Yes" against "no" or "No".
        confidence: Add ``<into>_confidence``, the probability of yes, float32.
        calibrate, system, errors, progress, sample, random_state, truncate, cache, checkpoint, background: As in
            ``classify``.
        into: The new column, "keep" if not given.

    A row with NA in a used column, or that failed, is NA.

    Raises:
        TemplateError, OptionError, EngineNotLoadedError, CheckpointError, RowErrors: as in ``classify``.
    """
    refuse_sampling(filter, unknown)
    require_flags(confidence=confidence)
    rows = self.rows
    threshold = checked_probability("threshold", threshold)
    check_calibrate(calibrate)
    target = Target.of(into, DEFAULT_INTO)
    check_errors(errors)
    trial = RowSample.of(sample, random_state)
    kept: dict[str, Any] = {"cache": cache, "checkpoint": checkpoint}
    options = RunOptions(sample=trial, truncate=truncate, background=background, progress=progress, **kept)

    def columns(given: np.ndarray) -> dict[str, Any]:
        yes = yes_probabilities(given)[:, 0]
        answers = pd.arrays.BooleanArray(yes >= threshold, np.isnan(yes))
        extra = {f"{target.into}_confidence": yes.astype(np.float32)} if confidence else {}
        return {target.into: answers, **extra}

    return LabelRun(
        verb="filter",
        rows=rows,
        template=template,
        target=target,
        errors=errors,
        labels=VERDICTS,
        questions=(QUESTION,),
        columns=columns,
        beside=[f"{target.into}_confidence"] if confidence else [],
        system=system,
        calibrate=calibrate,
        asked={"threshold": threshold, "confidence": confidence, "calibrate": calibrate},
    ).start(options)

"""The verb ``classify``: one of several labels for each row, or all that apply, with exact probabilities."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from pagednb.checks import require_flags
from pagednb.dataframe.labels.calibration import CalibrateOption, check_calibrate
from pagednb.dataframe.labels.columns import VERDICTS, LabelColumns, checked_probability
from pagednb.dataframe.labels.examples import example_turns
from pagednb.dataframe.labels.label_set import LabelSet
from pagednb.dataframe.labels.run import LabelRun
from pagednb.dataframe.prompts.sample import RowSample
from pagednb.dataframe.prompts.truncation import TruncateOption
from pagednb.dataframe.results.failures import ErrorPolicy, check_errors
from pagednb.dataframe.rows.verb_rows import Accessor, Target
from pagednb.dataframe.run.options import CacheOption, CheckpointOption, RunOptions
from pagednb.dataframe.run.progress import ProgressOption
from pagednb.dataframe.run.sampling import refuse_sampling
from pagednb.dataframe.run.task import ONE_QUESTION
from pagednb.errors import NotSupportedYetError

DEFAULT_INTO = "label"


def classify(
    self: Accessor,
    template: Hashable = None,
    *,
    labels: Sequence[str] | Mapping[str, str | None] | None = None,
    multi: bool = False,
    examples: pd.DataFrame | None = None,
    confidence: bool = True,
    probs: bool = False,
    min_confidence: float | None = None,
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
    """Return a copy of the frame with each row's label, as a category, and how likely it is.

    Of a series, return these columns as a frame, or one alone as a series.

    Probabilities are exact: each label is scored by its tokens behind the whole prompt, where the model may say nothing
    but labels. Nothing is sampled and no text is read, so every answer is a label and the same rows give the same
    answers. Labels whose first tokens differ cost one pass over the prompt. The answer follows the prompt directly: for
    a model without chat template let the template end as the text before a label would, as in ``"{text}\\nTeam: "``.

    Args:
        template: As in ``generate``. The labels, with their descriptions, are put before it.
        labels: A list, or a mapping of labels to descriptions or None. All are categories, in this order.
        multi: All labels that apply, as a list: the model is asked about each one by itself, yes or no. Labels with a
            probability of yes of at least one half are taken; the confidence is that of the whole list, if they are
            independent.
        examples: Labelled rows to show first: a frame with the columns of the template, and the label in ``into``.
        confidence: Add ``<into>_confidence``, the label's probability among all labels, float32.
        probs: Add ``<into>_probs``, a dict of all labels' probabilities; with ``multi`` those of yes.
        min_confidence: A row less sure is NA, with the reason in ``<into>_error``. It is no failure: nothing warns.
        calibrate: "contextual" divides by what the model says of rows without content, and so takes out what it
            prefers before reading (Zhao et al. 2021). Three short prompts are run first.
        into: The new column, "label" if not given.
        system, errors, progress, sample, random_state, truncate, cache, checkpoint, background: As in ``generate``.
            A thinking model answers without thinking.

    Raises:
        OptionError: no labels, one that is blank or comes twice, two that are the same tokens, a wrong option, an
            example with another label.
        TemplateError, ContextLengthError, EngineNotLoadedError, CheckpointError, RowErrors: as in ``generate``.
    """
    refuse_sampling(classify, unknown)
    require_flags(multi=multi, confidence=confidence, probs=probs)
    rows = self.rows
    label_set = LabelSet.of(labels, at_least=1 if multi else 2)
    if min_confidence is not None:
        min_confidence = checked_probability("min_confidence", min_confidence)
    check_calibrate(calibrate)
    target = Target.of(into, DEFAULT_INTO)
    check_errors(errors)
    trial = RowSample.of(sample, random_state)
    kept: dict[str, Any] = {"cache": cache, "checkpoint": checkpoint}
    options = RunOptions(sample=trial, truncate=truncate, background=background, progress=progress, **kept)
    if multi and examples is not None:
        raise NotSupportedYetError("examples= with multi=True is not built yet.", hint="Put them into the template.")
    turns = example_turns(examples, rows, template, target.into, label_set.texts)
    asked = {"labels": label_set.as_json(), "multi": multi, "confidence": confidence, "probs": probs}
    asked |= {"min_confidence": min_confidence, "calibrate": calibrate}
    made = LabelColumns(
        label_set.texts,
        rows.data.index,
        target.into,
        has_confidence=confidence,
        has_probs=probs,
        threshold=min_confidence,
    )
    return LabelRun(
        verb="classify",
        rows=rows,
        template=template,
        target=target,
        errors=errors,
        labels=VERDICTS if multi else label_set.texts,
        words="" if multi else label_set.in_words(),
        questions=_questions(label_set) if multi else ONE_QUESTION,
        columns=made.many if multi else made.one,
        beside=[f"{target.into}_{what}" for what, has in (("confidence", confidence), ("probs", probs)) if has],
        holds=made.holds(multi),
        notes=made.notes_on_many if multi else made.notes_on_one,
        turns=turns,
        system=system,
        calibrate=calibrate,
        asked=None if turns else asked,
    ).start(options)


def _questions(labels: LabelSet) -> list[str]:
    """One question a label, put behind the row."""
    described = [f" ({description})" if description else "" for description in labels.descriptions]
    return [
        f'\n\nDoes the label "{text}"{description} apply? Answer yes or no.\n'
        for text, description in zip(labels.texts, described, strict=True)
    ]

"""The task of ``generate`` with ``n`` or ``logprobs``: a row's texts, each with its log-probability if asked for."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from pagednb.dataframe.generation.whole_answers import require_whole
from pagednb.dataframe.results.columns import text_array
from pagednb.dataframe.results.outcome import RowOutcome
from pagednb.dataframe.results.typed_columns import object_column
from pagednb.dataframe.run.task import Answer
from pagednb.dataframe.run.written_task import WrittenTask
from pagednb.sampling_params import SamplingParams
from pagednb.structured_output.field_spec import FieldSpec


@dataclasses.dataclass(frozen=True)
class RowTexts:
    """The texts of one row in the order of their numbers, and the sum of each one's logprobs if asked for."""

    texts: tuple[str, ...]
    logprobs: tuple[float | None, ...]


@dataclasses.dataclass(frozen=True)
class TextsTask(WrittenTask):
    """``params.n`` texts a row."""

    name: ClassVar[str] = "generate"

    def value(self, answer: Answer) -> RowTexts:
        """Return all texts.

        Raises:
            RowFailure: a constraint held them, and one was cut.
        """
        completions = answer[0].outputs
        for completion in completions:
            require_whole(completion, self.params)
        return RowTexts(tuple(one.text for one in completions), tuple(one.cumulative_logprob for one in completions))


def texts_holds(into: str) -> dict[str, FieldSpec]:
    """Return what the lists in these columns hold."""
    texts, numbers = (FieldSpec(kind="array", items=FieldSpec(kind=kind)) for kind in ("string", "number"))
    return {into: texts, f"{into}_logprob": numbers}


def texts_columns(outcome: RowOutcome[RowTexts], into: str, params: SamplingParams, index: pd.Index) -> dict[str, Any]:
    """Return the column of texts and, if asked for, ``<into>_logprob``; where ``n`` is above 1, lists of these."""
    rows = outcome.values
    if params.n > 1:
        texts: Any = object_column([None if row is None else list(row.texts) for row in rows], index)
        logprobs: Any = object_column([None if row is None else list(row.logprobs) for row in rows], index)
    else:
        texts = text_array([None if row is None else row.texts[0] for row in rows])
        logprobs = np.array([np.nan if row is None else row.logprobs[0] for row in rows], dtype=np.float32)
    return {into: texts} | ({} if params.logprobs is None else {f"{into}_logprob": logprobs})

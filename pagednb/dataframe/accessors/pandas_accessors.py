"""The verbs by name, over frames and series of pandas. Each verb is a function in a file of its own.

The engine is looked up when a verb runs: accessors are kept with their frames.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from pagednb import runtime
from pagednb.dataframe.prompts.truncation import TruncateOption
from pagednb.dataframe.results.failures import ErrorPolicy
from pagednb.dataframe.rows.pandas_rows import FrameRows, SeriesRows, as_it_is_now
from pagednb.dataframe.run.job import awaitable
from pagednb.dataframe.run.progress import ProgressOption
from pagednb.dataframe.verbs.agg import agg
from pagednb.dataframe.verbs.classify import classify
from pagednb.dataframe.verbs.embed import embed
from pagednb.dataframe.verbs.extract import extract
from pagednb.dataframe.verbs.filter import filter
from pagednb.dataframe.verbs.generate import generate
from pagednb.dataframe.verbs.preview import preview
from pagednb.dataframe.verbs.retry import retry_rows
from pagednb.dataframe.verbs.review import review
from pagednb.dataframe.verbs.score import score

VERBS = "generate, classify, extract, filter, score, embed, agg, preview"


class FrameAccessor:
    """Language-model verbs over the rows of a frame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    @property
    def rows(self) -> FrameRows:
        """The rows that a verb works on, as they are now."""
        return FrameRows(as_it_is_now(self._frame))

    generate = generate
    agenerate = awaitable(generate)
    extract = extract
    aextract = awaitable(extract)
    classify = classify
    aclassify = awaitable(classify)
    filter = filter
    afilter = awaitable(filter)
    score = score
    ascore = awaitable(score)
    embed = embed
    aembed = awaitable(embed)
    agg = agg
    aagg = awaitable(agg)
    preview = preview
    review = review

    def retry(
        self,
        into: str,
        *,
        truncate: TruncateOption | None = None,
        max_tokens: int | None = None,
        errors: ErrorPolicy = "coerce",
        progress: ProgressOption = None,
    ) -> pd.DataFrame:
        """Return a copy in which the rows with a reason in ``<into>_error`` were run again, as they were run first.

        Args:
            into: What the run called its column.
            truncate: Cut rows that are too long, where the first run failed them.
            max_tokens: Give answers that were cut more room.
            errors, progress: As in ``generate``.

        Raises:
            OptionError: the frame does not know the run, another model made it, its inputs were written over, or its
                columns were dropped.
            NotSupportedYetError: a verb, or an extract of objects, whose run the frame cannot repeat.
        """
        changed = {"errors": errors, "progress": progress} | ({} if truncate is None else {"truncate": truncate})
        model = runtime.get_engine().resolved.name
        frame = self.rows.data

        def verb_of(again: pd.DataFrame, positions: np.ndarray, verb: str) -> Callable[..., pd.DataFrame]:
            method: Callable[..., pd.DataFrame] = getattr(_SomeRowsAccessor(again, positions), verb)
            return method

        return retry_rows(frame, into, model, verb_of, max_tokens=max_tokens, **changed)

    def __repr__(self) -> str:
        return f"pagednb verbs for {len(self.rows.data)} rows: {VERBS}, retry, review"


class _SomeRowsAccessor(FrameAccessor):
    """Verbs over the rows at some positions of a frame; the others are not sent."""

    def __init__(self, frame: pd.DataFrame, positions: np.ndarray) -> None:
        super().__init__(frame)
        self._positions = positions

    @property
    def rows(self) -> FrameRows:
        """The whole frame, of which some rows run."""
        return FrameRows(self._frame, self._positions)


class SeriesAccessor:
    """Language-model verbs over the values of a series."""

    def __init__(self, series: pd.Series) -> None:
        self._series = series

    @property
    def rows(self) -> SeriesRows:
        """The values that a verb works on, as they are now."""
        return SeriesRows(as_it_is_now(self._series))

    generate = generate
    agenerate = awaitable(generate)
    extract = extract
    aextract = awaitable(extract)
    classify = classify
    aclassify = awaitable(classify)
    filter = filter
    afilter = awaitable(filter)
    score = score
    ascore = awaitable(score)
    embed = embed
    aembed = awaitable(embed)
    agg = agg
    aagg = awaitable(agg)
    preview = preview

    def __repr__(self) -> str:
        return f"pagednb verbs for {len(self.rows.data)} values: {VERBS}"

"""``df.llm`` and ``series.llm``: the verbs by name. Each verb is a function in a file of its own.

``frame`` gives the object for one frame or series; ``register`` puts it on pandas' classes, as ``llm`` or, when another
library has that name, as ``pnb``, and on Polars' as ``pnb``. The engine is looked up when a verb runs: accessors are
kept with their frames.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pandas as pd

from pagednb import runtime
from pagednb.dataframe import registration
from pagednb.dataframe.agg_verb import agg
from pagednb.dataframe.classify_verb import classify
from pagednb.dataframe.embed_verb import embed
from pagednb.dataframe.extract_verb import extract
from pagednb.dataframe.filter_verb import filter
from pagednb.dataframe.generate_verb import generate
from pagednb.dataframe.job import awaitable
from pagednb.dataframe.preview_verb import preview
from pagednb.dataframe.progress import ProgressOption
from pagednb.dataframe.registration import Owner
from pagednb.dataframe.results import ErrorPolicy
from pagednb.dataframe.retry import retry_rows
from pagednb.dataframe.review_verb import review
from pagednb.dataframe.score_verb import score
from pagednb.dataframe.truncation import TruncateOption
from pagednb.dataframe.verb_rows import FrameRows, SeriesRows

VERBS = "generate, classify, extract, filter, score, agg, preview"


class FrameAccessor:
    """Language-model verbs over the rows of a frame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    @property
    def rows(self) -> FrameRows:
        """The rows that verbs work on."""
        return FrameRows(self._frame)

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
            OptionError: the frame does not know the run, or another model made it.
            NotSupportedYetError: a verb, or an extract of objects, whose run the frame cannot repeat.
        """
        changed = {"errors": errors, "progress": progress} | ({} if truncate is None else {"truncate": truncate})
        model = runtime.get_engine().resolved.name
        frame = self.rows.data

        def verb_of(rows: pd.DataFrame, verb: str) -> Callable[..., pd.DataFrame]:
            method: Callable[..., pd.DataFrame] = getattr(FrameAccessor(rows), verb)
            return method

        return retry_rows(frame, into, model, verb_of, max_tokens=max_tokens, **changed)

    def __repr__(self) -> str:
        return f"pagednb verbs for {len(self.rows.data)} rows: {VERBS}, retry, review"


class SeriesAccessor:
    """Language-model verbs over the values of a series."""

    def __init__(self, series: pd.Series) -> None:
        self._series = series

    @property
    def rows(self) -> SeriesRows:
        """The values that verbs work on."""
        return SeriesRows(self._series)

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
    agg = agg
    aagg = awaitable(agg)
    preview = preview

    def __repr__(self) -> str:
        return f"pagednb verbs for {len(self.rows.data)} values: {VERBS}"


NAMES = ("llm", "pnb")
NATIVE_NAMES = ("pnb",)
"""On Polars, where ``llm`` belongs to others."""

_OWNERS = (
    Owner(pd.DataFrame, FrameAccessor, pd.api.extensions.register_dataframe_accessor),
    Owner(pd.Series, SeriesAccessor, pd.api.extensions.register_series_accessor),
)


def frame(data: Any) -> FrameAccessor | SeriesAccessor:
    """Return the verbs for a frame or series of pandas, Polars or Arrow, whether or not an accessor is registered.

    Results are of the same library. Polars frames keep no figures and no record of their runs: ``pagednb.last_run()``
    has the figures of the last one.

    Raises:
        OptionError: ``data`` is none of them, or a lazy frame.
    """
    if isinstance(data, pd.DataFrame):
        return FrameAccessor(data)
    if isinstance(data, pd.Series):
        return SeriesAccessor(data)
    from pagednb.dataframe.native_accessor import native_accessor

    return native_accessor(data)


def register() -> str | None:
    """Put the verbs on pandas' frames and series as ``llm``, or ``pnb`` if another library has that; return the name.

    None means that both are taken; ``pagednb.frame`` works all the same. A warning tells, once, if it is not ``llm``.
    Polars has them as ``pnb``, if it was imported before.
    """
    name = registration.register(_OWNERS, NAMES)
    if _polars() is not None:
        registration.register(_polars_owners(), NATIVE_NAMES)
    return name


def unregister() -> None:
    """Take our accessors off; those of others stay."""
    registration.unregister(_OWNERS, NAMES)
    if _polars() is not None:
        registration.unregister(_polars_owners(), NATIVE_NAMES)


def _polars() -> Any:
    """Polars if somebody has imported it; we do not."""
    return sys.modules.get("polars")


def _polars_owners() -> tuple[Owner, ...]:
    from pagednb.dataframe.native_accessor import NativeFrameAccessor, NativeSeriesAccessor

    polars = _polars()
    return (
        Owner(polars.DataFrame, NativeFrameAccessor, polars.api.register_dataframe_namespace),
        Owner(polars.Series, NativeSeriesAccessor, polars.api.register_series_namespace),
    )

"""``df.llm`` and ``series.llm``: the verbs by name. Each verb is a function in a file of its own.

``frame`` gives the object for one frame or series; ``register`` puts it on pandas' classes, as ``llm`` or, when another
library has that name, as ``pnb``. The engine is looked up when a verb runs: pandas keeps accessors with their frame.
"""

from __future__ import annotations

import pandas as pd

from pagednb import runtime
from pagednb.dataframe import registration
from pagednb.dataframe.extract_verb import extract
from pagednb.dataframe.generate_verb import generate
from pagednb.dataframe.job import awaitable
from pagednb.dataframe.preview_verb import preview
from pagednb.dataframe.progress import ProgressOption
from pagednb.dataframe.results import ErrorPolicy
from pagednb.dataframe.retry import retry_rows
from pagednb.dataframe.review_verb import review
from pagednb.dataframe.truncation import TruncateOption
from pagednb.dataframe.verb_rows import FrameRows, SeriesRows
from pagednb.errors import OptionError


class FrameAccessor:
    """Language-model verbs over the rows of a frame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.rows = FrameRows(frame)

    generate = generate
    agenerate = awaitable(generate)
    extract = extract
    aextract = awaitable(extract)
    preview = preview
    review = review

    def retry(
        self,
        into: str,
        *,
        truncate: TruncateOption | None = None,
        errors: ErrorPolicy = "coerce",
        progress: ProgressOption = None,
    ) -> pd.DataFrame:
        """Return a copy in which the rows with a reason in ``<into>_error`` were run again, as they were run first.

        Args:
            into: What the run called its column.
            truncate: Cut rows that are too long, where the first run failed them.
            errors, progress: As in ``generate``.

        Raises:
            OptionError: the frame does not know the run, or another model made it.
            NotSupportedYetError: a verb, or an extract of objects, whose run the frame cannot repeat.
        """
        changed = {"errors": errors, "progress": progress} | ({} if truncate is None else {"truncate": truncate})
        model = runtime.get_engine().resolved.name
        frame = self.rows.data
        return retry_rows(frame, into, model, lambda rows, verb: getattr(FrameAccessor(rows), verb), **changed)

    def __repr__(self) -> str:
        return f"pagednb verbs for {len(self.rows.data)} rows: generate, extract, preview, retry, review"


class SeriesAccessor:
    """Language-model verbs over the values of a series."""

    def __init__(self, series: pd.Series) -> None:
        self.rows = SeriesRows(series)

    generate = generate
    agenerate = awaitable(generate)
    extract = extract
    aextract = awaitable(extract)
    preview = preview

    def __repr__(self) -> str:
        return f"pagednb verbs for {len(self.rows.data)} values: generate, extract, preview"


_OWNERS = ((pd.DataFrame, FrameAccessor), (pd.Series, SeriesAccessor))


def frame(data: pd.DataFrame | pd.Series) -> FrameAccessor | SeriesAccessor:
    """Return the verbs for a frame or series, whether or not an accessor is registered.

    Raises:
        OptionError: ``data`` is neither.
    """
    if isinstance(data, pd.DataFrame):
        return FrameAccessor(data)
    if isinstance(data, pd.Series):
        return SeriesAccessor(data)
    raise OptionError(f"pagednb.frame takes a pandas DataFrame or Series, not {type(data).__name__}.")


def register() -> str | None:
    """Put the verbs on frames and series as ``llm``, or ``pnb`` where another library has that; return the name.

    None means that both are taken; ``pagednb.frame`` works all the same. A warning tells, once, if it is not ``llm``.
    """
    return registration.register(_OWNERS)


def unregister() -> None:
    """Take our accessors off pandas' classes; those of others stay."""
    registration.unregister(_OWNERS)

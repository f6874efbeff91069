"""``df.llm`` and ``series.llm``, and how they come and go.

``frame`` gives the object for one frame or series; ``register`` puts it on pandas' classes, as ``llm`` or, when another
library has that name, as ``pnb``, and on Polars' as ``pnb``.
"""

from __future__ import annotations

import sys
from typing import Any

import pandas as pd

from pagednb.dataframe.accessors import registration
from pagednb.dataframe.accessors.pandas_accessors import FrameAccessor, SeriesAccessor
from pagednb.dataframe.accessors.registration import Owner

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
    from pagednb.dataframe.accessors.native_accessors import native_accessor

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
    from pagednb.dataframe.accessors.native_accessors import NativeFrameAccessor, NativeSeriesAccessor

    polars = _polars()
    return (
        Owner(polars.DataFrame, NativeFrameAccessor, polars.api.register_dataframe_namespace),
        Owner(polars.Series, NativeSeriesAccessor, polars.api.register_series_namespace),
    )

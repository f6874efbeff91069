"""Puts accessor classes on pandas' classes under a name that no other library has, and takes them off again."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pandas as pd

NAMES = ("llm", "pnb")
Owners = Sequence[tuple[Any, type]]
"""Pandas' classes, each with our accessor class for it."""


def register(owners: Owners) -> str | None:
    """Register under the first name of ``NAMES`` that no other library has taken, and return it.

    None means that all are taken. A warning tells, once, of a name other than the first.
    """
    name = next((name for name in NAMES if not _is_foreign(owners, name)), None)
    if name is not None and all(getattr(owner, name, None) is accessor for owner, accessor in owners):
        return name  # taking it off and putting it back would show in other threads
    is_renewal = name is not None and all(_made_here(owner, accessor, name) for owner, accessor in owners)
    unregister(owners)
    if name is not None:
        for owner, accessor in owners:
            register_on = getattr(pd.api.extensions, f"register_{owner.__name__.lower()}_accessor")
            register_on(name)(accessor)
    if name != NAMES[0] and not is_renewal:
        use = f"df.{name}" if name else "pagednb.frame(df)"
        warnings.warn(
            f"Another library has registered df.{NAMES[0]}, and keeps it. Use {use} for pagednb's verbs.",
            UserWarning,
            stacklevel=3,
        )
    return name


def unregister(owners: Owners) -> None:
    """Take our accessors off pandas' classes; those of others stay."""
    for name in NAMES:
        for owner, accessor in owners:
            if name in owner.__dict__ and _made_here(owner, accessor, name):
                delattr(owner, name)
                owner._accessors.discard(name)


def _is_foreign(owners: Owners, name: str) -> bool:
    return any(hasattr(owner, name) and not _made_here(owner, accessor, name) for owner, accessor in owners)


def _made_here(owner: Any, accessor: type, name: str) -> bool:
    """Whether the class under a name is ours; by its module's name, since a reload makes new classes."""
    return getattr(getattr(owner, name, None), "__module__", None) == accessor.__module__

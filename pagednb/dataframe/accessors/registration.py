"""Puts accessor classes on a library's classes under a name that nobody else has, and takes them off again."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Owner:
    """A library's class, our accessor class for it, and the library's function that attaches one under a name."""

    cls: Any
    accessor: type
    attach: Callable[[str], Callable[[type], type]]


def register(owners: Sequence[Owner], names: Sequence[str]) -> str | None:
    """Register under the first of ``names`` that nobody else has taken, and return it.

    None means that all are taken. A warning tells, once, of a name other than the first.
    """
    name = next((name for name in names if not _is_foreign(owners, name)), None)
    if name is not None and all(getattr(owner.cls, name, None) is owner.accessor for owner in owners):
        return name  # taking it off and putting it back would show in other threads
    is_renewal = name is not None and all(_made_here(owner, name) for owner in owners)
    unregister(owners, names)
    if name is not None:
        for owner in owners:
            owner.attach(name)(owner.accessor)
    if name != names[0] and not is_renewal:
        use = f"df.{name}" if name else "pagednb.frame(df)"
        warnings.warn(
            f"Another library{_by_whom(owners, names[0])} has registered df.{names[0]} on {_library(owners)} frames, "
            f"and keeps it. Use {use} for pagednb's verbs.",
            UserWarning,
            stacklevel=4,
        )
    return name


def unregister(owners: Sequence[Owner], names: Sequence[str]) -> None:
    """Take our accessors off; those of others stay."""
    for name in names:
        for owner in owners:
            if name in owner.cls.__dict__ and _made_here(owner, name):
                delattr(owner.cls, name)
                owner.cls._accessors.discard(name)


def _by_whom(owners: Sequence[Owner], name: str) -> str:
    """The foreign class's library, if it can be told."""
    foreign = (getattr(owner.cls, name) for owner in owners if hasattr(owner.cls, name) and not _made_here(owner, name))
    modules = (getattr(accessor, "__module__", None) for accessor in foreign)
    names_of_libraries = (module.partition(".")[0] for module in modules if isinstance(module, str))
    return next((f" ({library})" for library in names_of_libraries if library != "__main__"), "")


def _library(owners: Sequence[Owner]) -> str:
    return str(owners[0].cls.__module__).partition(".")[0]


def _is_foreign(owners: Sequence[Owner], name: str) -> bool:
    return any(hasattr(owner.cls, name) and not _made_here(owner, name) for owner in owners)


def _made_here(owner: Owner, name: str) -> bool:
    """Whether the class under a name is ours; by its module's name, since a reload makes new classes."""
    return getattr(getattr(owner.cls, name, None), "__module__", None) == owner.accessor.__module__

"""Paths that a user gives, as paths."""

from __future__ import annotations

import os
import pathlib

from pagednb.errors import OptionError


def given_path(option: str, value: str | os.PathLike[str]) -> pathlib.Path:
    """Return a path, ``~`` as the home folder.

    Raises:
        OptionError: it is empty, which would be the notebook's own folder.
    """
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise OptionError(f"{option}={value!r} is not valid.", hint="Give a path.")
    return pathlib.Path(value).expanduser()

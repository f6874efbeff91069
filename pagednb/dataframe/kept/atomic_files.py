"""Files that are whole or not there, whenever the process dies."""

from __future__ import annotations

import contextlib
import os
import pathlib
import time
import uuid
from collections.abc import Iterator

_TEMPORARY = ".tmp-"
_STALE_S = 3600.0


def write_atomically(path: pathlib.Path, data: bytes) -> None:
    """Write to a temporary file beside ``path``, flush it to the device, rename it. Raises OSError."""
    with written_atomically(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def written_atomically(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield a path beside ``path`` to write to, then flush that file and rename it; remove it if the block raises.

    Raises:
        OSError: the folder or the device refuses.
    """
    temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
    try:
        yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    _flush_folder(path.parent)


def _flush_folder(folder: pathlib.Path) -> None:
    """Make a rename last through a loss of power, where folders can be flushed."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale(folder: pathlib.Path) -> None:
    """Remove what killed runs left half written; young files may be another kernel's."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        if time.time() - path.stat().st_mtime > _STALE_S:
            path.unlink(missing_ok=True)

"""A folder that keeps a run's rows as they are done: ``checkpoint="runs/team/"``.

``run.json`` says what was run; each ``part-*.parquet`` holds rows, written to a temporary file, flushed to the device
and renamed, so a part is whole or not there, whenever the process dies. Parts are never changed. Rows are found again
by the digest of their prompt, so rows may be added, dropped or sorted between two runs of the same cell.

Columns of a part: ``position`` (row of the frame), ``prompt`` (digest), ``text`` (of the first output, to look at),
``answer`` (see ``stored_answer``), ``error``. Failed rows have no answer and are computed again by the next run.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import time
import uuid
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pagednb.dataframe.kept.stored_answer import pack_answer
from pagednb.errors import CheckpointError, OptionError
from pagednb.outputs import RequestOutput

SPEC_FILE = "run.json"
_FORMAT = 1
_TEMPORARY = ".tmp-"
_STALE_S = 3600.0


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where a run keeps its rows, and how often: a part is written after ``every_rows`` rows or ``every_s`` seconds."""

    path: str | os.PathLike[str]
    every_rows: int = 1000
    every_s: float = 10.0

    def __post_init__(self) -> None:
        if self.every_rows < 1 or not self.every_s > 0:
            raise OptionError(f"{self!r} would never write a part.", hint="Both every_rows and every_s are above 0.")


class CheckpointFolder:
    """Rows of earlier runs, and those of this one. Belongs to one thread.

    ``spec`` holds everything but the prompts that decides a row's value, as JSON types.

    Raises:
        CheckpointError: the folder belongs to a run with another spec (says what differs), or cannot be written.
        OptionError: pyarrow is not installed.
    """

    def __init__(self, options: Checkpoint, spec: Mapping[str, Any]) -> None:
        _require_pyarrow()
        self.path = pathlib.Path(options.path)
        self._options = options
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            _check_spec(self.path, spec)
            self._stored = self._read_parts()
        except OSError as error:
            raise CheckpointError(
                f"The checkpoint {str(self.path)!r} cannot be used: {error}.", hint="Give a folder to write to."
            ) from error
        self.num_stored = sum(map(len, self._stored.values()))
        self._rows: list[dict[str, Any]] = []
        self._due_s = time.perf_counter() + options.every_s

    def take(self, position: int, prompt: bytes, *, is_shared: bool) -> bytes | None:
        """Return the stored answer to a prompt, or None.

        ``is_shared``: equal prompts have equal answers. If not, each stored answer is given once, to the row of the
        same position where there is one.
        """
        stored = self._stored.get(prompt)
        if not stored:
            return None
        if is_shared:
            return next(iter(stored.values()))
        return stored.pop(position if position in stored else next(iter(stored)))

    def add(self, position: int, prompt: bytes, outputs: Sequence[RequestOutput] | None, error: str | None) -> None:
        """Add a finished row; a part is written when one is due."""
        text = outputs[0].text if outputs else None
        answer = None if outputs is None or error is not None else pack_answer(outputs).decode()
        self._rows.append({"position": position, "prompt": prompt, "text": text, "answer": answer, "error": error})
        self.write_if_due()

    def write_if_due(self) -> None:
        """Write a part if enough rows or enough time have gathered."""
        if len(self._rows) >= self._options.every_rows or time.perf_counter() >= self._due_s:
            self.write()

    def write(self) -> None:
        """Write all rows that are not yet in a part."""
        self._due_s = time.perf_counter() + self._options.every_s
        if self._rows:
            _write_part(self.path, self._rows)
            self._rows = []

    def _read_parts(self) -> dict[bytes, dict[int, bytes]]:
        """Answers by prompt, then by position."""
        stored: dict[bytes, dict[int, bytes]] = {}
        for path in sorted(self.path.glob("part-*.parquet")):
            for position, prompt, answer in _read_part(path):
                if answer is not None:
                    stored.setdefault(prompt, {})[position] = answer.encode()
        _remove_stale(self.path)
        return stored


def _check_spec(folder: pathlib.Path, spec: Mapping[str, Any]) -> None:
    """Write the run's spec, or compare it with the one that is there."""
    path = folder / SPEC_FILE
    mine = json.loads(json.dumps({"format": _FORMAT, **spec}))  # as it would come back
    try:
        theirs = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if any(folder.glob("part-*.parquet")):
            raise CheckpointError(
                f"The folder {str(folder)!r} holds parts, but no {SPEC_FILE}: nobody knows what they answer.",
                hint="Give another folder.",
            ) from None
        _write_atomically(path, json.dumps(mine, indent=2, ensure_ascii=False).encode())
        return
    except ValueError as error:
        raise CheckpointError(f"{str(path)!r} is not valid JSON: {error}.", hint="Give another folder.") from error
    lines = _difference(theirs, mine)
    if lines:
        raise CheckpointError(
            f"The checkpoint {str(folder)!r} belongs to another run:\n  " + "\n  ".join(lines) + "\n",
            hint="Give another folder for this run, or change the call back.",
        )


def _difference(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys((*theirs, *mine))
    return [
        f"{name}: was {theirs.get(name)!r}, is {mine.get(name)!r}"
        for name in names
        if theirs.get(name) != mine.get(name)
    ]


def _write_part(folder: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    types = {"position": pyarrow.int64(), "prompt": pyarrow.binary()}
    names = ("position", "prompt", "text", "answer", "error")
    columns = {name: pyarrow.array([row[name] for row in rows], types.get(name, pyarrow.string())) for name in names}
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(columns), sink, compression="zstd")
    # in order of time, and with a name that no other kernel writing here can have
    name = f"part-{time.time_ns():020}-{uuid.uuid4().hex[:8]}.parquet"
    _write_atomically(folder / name, sink.getvalue().to_pybytes())


def _read_part(path: pathlib.Path) -> list[tuple[int, bytes, str | None]]:
    import pyarrow
    from pyarrow import parquet

    names = ["position", "prompt", "answer"]
    try:
        table = parquet.read_table(path, columns=names, partitioning=None, use_threads=False)
    except (pyarrow.ArrowException, OSError) as error:  # only a device that lost power can leave such a file
        warnings.warn(
            f"The part {str(path)!r} is broken; its rows are computed again: {error}", UserWarning, stacklevel=2
        )
        return []
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


def _write_atomically(path: pathlib.Path, data: bytes) -> None:
    temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
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


def _remove_stale(folder: pathlib.Path) -> None:
    """Remove what killed runs left half written; young files may be another kernel's."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        if time.time() - path.stat().st_mtime > _STALE_S:
            path.unlink(missing_ok=True)


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise OptionError(
            "checkpoint= keeps Parquet files, which need pyarrow.",
            hint='Install it: pip install "pagednb[checkpoint]".',
        ) from error

"""A folder that keeps a run's rows as they are done: ``checkpoint="runs/team/"``.

``run.json`` says what was run; each ``part-*.parquet`` holds rows, written to a temporary file, flushed to the device
and renamed, so a part is whole or not there, whenever the process dies. Parts are never changed. Rows are found again
by the digest of their prompt, so rows may be added, dropped or sorted between two runs of the same cell.

Columns of a part: ``position`` (row of the frame), ``prompt`` (digest), ``text`` (of the first output, to look at),
``answer`` (see ``stored_answer``), ``error``. Failed rows have no answer and are computed again by the next run.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import time
import uuid
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pagednb.checks import is_finite, is_whole
from pagednb.dataframe.kept.atomic_files import remove_stale, write_atomically
from pagednb.dataframe.kept.paths import given_path
from pagednb.dataframe.kept.run_spec import check_spec
from pagednb.dataframe.kept.stored_answer import pack_answer
from pagednb.dataframe.results.callers import callers_level
from pagednb.errors import CheckpointError, OptionError
from pagednb.outputs import RequestOutput

FIRST_PART_S = 1.0


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where a run keeps its rows, and how often: a part is written after ``every_rows`` rows or ``every_s`` seconds.

    A young run writes its first part after a second and then whenever a tenth of its time so far has gone by, until
    that is ``every_s``: a short run that is killed keeps something too, and a long one has few parts.
    """

    path: str | os.PathLike[str]
    every_rows: int = 1000
    every_s: float = 10.0

    def __post_init__(self) -> None:
        given_path("checkpoint", self.path)
        if not is_whole(self.every_rows) or not is_finite(self.every_s) or self.every_rows < 1 or self.every_s <= 0:
            raise OptionError(
                f"{self!r} would never write a part.",
                hint="every_rows is a whole number and every_s seconds, above 0.",
            )


class CheckpointFolder:
    """Rows of earlier runs, and those of this one. Belongs to one thread.

    ``spec`` holds everything but the prompts that decides a row's value, as JSON types.

    Raises:
        CheckpointError: the folder belongs to a run with another spec (says what differs), or cannot be written.
        OptionError: pyarrow is not installed.
    """

    def __init__(self, options: Checkpoint, spec: Mapping[str, Any]) -> None:
        _require_pyarrow()
        self.path = given_path("checkpoint", options.path)
        self._options = options
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            check_spec(self.path, spec)
            self._stored = self._read_parts()
        except OSError as error:
            raise CheckpointError(
                f"The checkpoint {str(self.path)!r} cannot be used: {error}.", hint="Give a folder to write to."
            ) from error
        self.num_stored = sum(map(len, self._stored.values()))
        self._rows: list[dict[str, Any]] = []
        self._start_s = time.perf_counter()
        self._due_s = self._next_due_s(self._start_s)

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
        self._due_s = self._next_due_s(time.perf_counter())
        if self._rows:
            _write_part(self.path, self._rows)
            self._rows = []

    def _next_due_s(self, now_s: float) -> float:
        return now_s + min(self._options.every_s, max(FIRST_PART_S, 0.1 * (now_s - self._start_s)))

    def _read_parts(self) -> dict[bytes, dict[int, bytes]]:
        """Answers by prompt, then by position."""
        stored: dict[bytes, dict[int, bytes]] = {}
        for path in sorted(self.path.glob("part-*.parquet")):
            for position, prompt, answer in _read_part(path):
                if answer is not None:
                    stored.setdefault(prompt, {})[position] = answer.encode()
        remove_stale(self.path)
        return stored


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
    write_atomically(folder / name, sink.getvalue().to_pybytes())


def _read_part(path: pathlib.Path) -> list[tuple[int, bytes, str | None]]:
    import pyarrow
    from pyarrow import parquet

    names = ["position", "prompt", "answer"]
    try:
        table = parquet.read_table(path, columns=names, partitioning=None, use_threads=False)
    except (pyarrow.ArrowException, OSError) as error:  # only a device that lost power can leave such a file
        reason = str(error).partition("\n")[0]
        message = f"The part {str(path)!r} is broken; its rows are computed again: {reason}"
        warnings.warn(message, UserWarning, stacklevel=callers_level())
        return []
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise OptionError(
            "checkpoint= keeps Parquet files, which need pyarrow.",
            hint='Install it: pip install "pagednb[checkpoint]".',
        ) from error

"""Decisions of a review on disk: a line of JSON for each, appended as it is made, so that no end of a kernel loses one.

The first line says which review the file belongs to. A line that was cut by whatever ended the kernel is left out.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from pagednb.errors import OptionError


class DecisionFile:
    """The file of one review: of the column ``into``, by people who saw ``columns``."""

    def __init__(self, path: pathlib.Path, into: str, columns: Sequence[Hashable]) -> None:
        self._path = path
        self._subject = {"review": into, "columns": [str(name) for name in columns]}

    def open(self) -> list[tuple[int, Any]]:
        """Return rows with their labels in the order of decisions; makes the file if there is none.

        Raises:
            OptionError: the file is another review's, no review's, or cannot be read or written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            content = self._path.read_bytes() if self._path.exists() else b""
            head = _as_lines([self._subject])
            if head.startswith(content) and content != head:  # new, or its making was cut
                self._append(head[len(content) :])
                content = head
            if not content.endswith(b"\n"):  # the next line shall stand on its own
                self._append(b"\n")
        except OSError as error:
            raise OptionError(f"save={str(self._path)!r} cannot be used: {error}.") from error
        subject, *decisions = [*_objects(content)] or [None]
        if subject != self._subject:
            told = f"one of {subject['review']!r}" if isinstance(subject, dict) and "review" in subject else "none"
            raise OptionError(
                f"{str(self._path)!r} is not this review's file: it is {told}.", hint="Name another file in save=."
            )
        return [(int(line["row"], 16), line["label"]) for line in decisions if isinstance(line, dict)]

    def add(self, row_to_label: Mapping[int, Hashable | None]) -> None:
        """Append decisions; they are on disk when this returns."""
        self._append(_as_lines([{"row": f"{row:016x}", "label": label} for row, label in row_to_label.items()]))

    def _append(self, content: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(content)


def check_labels(labels: Sequence[Hashable]) -> None:
    """Raise OptionError for labels that a file would give back changed."""
    for label in labels:
        if not isinstance(label, (str, int, float, bool)):
            raise OptionError(
                f"save= keeps texts and numbers, and the label {label!r} is a {type(label).__name__}.",
                hint="Leave save= out, or turn labels into text first.",
            )


def _as_lines(objects: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in objects)


def _objects(content: bytes) -> Iterator[Any]:
    for line in content.split(b"\n"):
        try:
            yield json.loads(line)
        except ValueError:
            continue

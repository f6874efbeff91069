"""``run.json``: what a checkpoint's run was, and how another one differs from it."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from pagednb.dataframe.kept.atomic_files import write_atomically
from pagednb.errors import CheckpointError

SPEC_FILE = "run.json"
_FORMAT = 1
_SHOWN_CHARS = 60
_CONTEXT_CHARS = 20


def check_spec(folder: pathlib.Path, spec: Mapping[str, Any]) -> None:
    """Write the run's spec, or compare it with the one that is there.

    Raises:
        CheckpointError: another run's is there, with what differs, or something that is none.
        OSError: it cannot be read or written.
    """
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
        write_atomically(path, json.dumps(mine, indent=2, ensure_ascii=False).encode())
        return
    except ValueError as error:
        raise CheckpointError(f"{str(path)!r} is not valid JSON: {error}.", hint="Give another folder.") from error
    if not isinstance(theirs, dict):
        raise CheckpointError(f"{str(path)!r} does not say what was run.", hint="Give another folder.")
    lines = _difference(theirs, mine)
    if lines:
        raise CheckpointError(
            f"The checkpoint {str(folder)!r} belongs to another run:\n  " + "\n  ".join(lines) + "\n",
            hint="Give another folder for this run, or change the call back.",
        )


def _difference(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    """A line for each value that differs, those of nested tables by their own names."""
    lines = []
    for name in dict.fromkeys((*theirs, *mine)):
        was, now = theirs.get(name), mine.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            lines += _difference(was, now)
        elif was != now:
            lines.append(f"{name}: was {_shown(was, now)}, is {_shown(now, was)}")
    return lines


def _shown(value: Any, other: Any) -> str:
    """A value as text; of a long one what is around the first place where it differs."""
    text, others = repr(value), repr(other)
    if len(text) <= _SHOWN_CHARS:
        return text
    pairs = zip(text, others, strict=False)
    first = next((at for at, (mine, theirs) in enumerate(pairs) if mine != theirs), min(len(text), len(others)))
    start = max(0, first - _CONTEXT_CHARS)
    end = start + _SHOWN_CHARS
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"

"""What a user reads who interrupted a cell: a sentence in the place of our stack."""

from __future__ import annotations


def show_note(interrupt: BaseException, note: str) -> None:
    """Add a note, and have IPython show it instead of a stack whose formatting can take longer than the interrupt.

    ``interrupt`` is a KeyboardInterrupt, or the CancelledError that an awaited cell gets.
    """
    interrupt.add_note(note)
    interrupt._render_traceback_ = lambda: [f"{type(interrupt).__name__}: {note}"]  # type: ignore[attr-defined]

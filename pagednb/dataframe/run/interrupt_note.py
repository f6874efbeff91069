"""What a user reads who interrupted a cell: a sentence in the place of our stack."""

from __future__ import annotations


def show_note(interrupt: KeyboardInterrupt, note: str) -> None:
    """Add a note, and have IPython show it instead of a stack whose formatting can take longer than the interrupt."""
    interrupt.add_note(note)
    interrupt._render_traceback_ = lambda: [f"KeyboardInterrupt: {note}"]  # type: ignore[attr-defined]

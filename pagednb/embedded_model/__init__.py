"""The demonstration model that ships with pagednb, and the table of support tickets for the demo.

Only paths live here, so the import is cheap. The grammar that all text comes from is in ``grammar/``; ``train`` makes
the weights again, ``evaluate`` measures them, ``tickets`` writes ``tickets.csv``. See ``MODEL_CARD.md``.
"""

from __future__ import annotations

import pathlib

_HERE = pathlib.Path(__file__).resolve().parent


def weights_folder() -> pathlib.Path:
    """Return the folder with config, tokenizer and weights of the embedded model, as transformers lays it out."""
    return _HERE / "weights"


def tickets_path() -> pathlib.Path:
    """Return the CSV file of 500 support tickets: id, text, team, sentiment, order_number (the last may be empty)."""
    return _HERE / "tickets.csv"

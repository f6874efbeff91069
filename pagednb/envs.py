"""Environment variables that pagednb reads (it never writes any), each with its meaning and default.

Read at call time, so that a change in a notebook takes effect at the next call.
"""

from __future__ import annotations

import os

from pagednb.errors import OptionError

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def show_progress() -> bool:
    """``PAGEDNB_PROGRESS``: show progress bars (default on)."""
    return _read_bool("PAGEDNB_PROGRESS", default=True)


def api_key() -> str | None:
    """``PAGEDNB_API_KEY``: what clients of ``pagednb serve`` must send (default none)."""
    return os.environ.get("PAGEDNB_API_KEY") or None


def _read_bool(name: str, *, default: bool) -> bool:
    raw = os.environ.get(name)
    if raw is None:
        return default
    value = raw.strip().lower()
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    raise OptionError(f"Environment variable {name}={raw!r} is neither true nor false.", hint="Use 1 or 0.")

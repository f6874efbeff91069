"""Faults that their own sentence explains, without a traceback. Every magic runs inside ``one_line_errors``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from IPython.core.error import UsageError

from pagednb.errors import (
    EngineDeadError,
    EngineStepError,
    NotSupportedYetError,
    OptionError,
    PagednbError,
    SchemaError,
)
from pagednb.interrupts import show_note


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Show mistakes in the line, interrupts, and faults that their own sentence explains, without a traceback.

    All still fail the cell. A mistake becomes IPython's UsageError; a fault keeps its type. Only a fault inside the
    engine keeps its traceback too: there it says where.
    """
    try:
        yield
    except (OptionError, SchemaError, NotSupportedYetError) as error:
        raise UsageError(str(error)) from None
    except (EngineStepError, EngineDeadError):
        raise
    except KeyboardInterrupt as interrupt:
        if not hasattr(interrupt, "_render_traceback_"):  # whoever knew more has said it
            show_note(interrupt, "stopped.")
        raise
    except PagednbError as error:
        sentence = f"{type(error).__name__}: {error}"
        error._render_traceback_ = lambda: [sentence]  # type: ignore[attr-defined]  # IPython's hook for it
        raise

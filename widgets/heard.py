"""Which shell of a kernel hears what somebody pressed: the one that the front end sent it to.

ipykernel 7.4 passes a widget's message on to the shell whose request the widget last spoke for. Ours speak on threads
of their own, for nobody's request: that shell would be whichever was busy last, so that a button waited for the cell
that runs, or was never heard because a page that was closed had taken the shell along. Our handlers may be called on
any thread and return at once.
"""

from __future__ import annotations

from typing import TypeVar

import ipywidgets

_CHOICE = "_reply_subshell_for"
"""A method of ipykernel's comms, where they have it: (data, the shell that the front end named) -> a shell."""

Heard = TypeVar("Heard", bound=ipywidgets.Widget)


def heard_where_sent(widget: Heard) -> Heard:
    """Have messages to ``widget`` handled by the shell they were sent to; returns the widget."""
    if hasattr(widget.comm, _CHOICE):
        setattr(widget.comm, _CHOICE, lambda data, named: named)
    return widget

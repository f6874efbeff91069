"""The widget of ``pnb.monitor()``: draws frames of an engine, and says when somebody looks at it.

It knows no engine: it is shown plain JSON, whose fields ``static/monitor`` reads. The last frame stays in the
widget's state, so that a page that is loaded again draws all of it at once.
"""

from __future__ import annotations

import pathlib
from typing import Any, Protocol

import anywidget
import traitlets

from pagednb.widgets.heard import heard_where_sent
from pagednb.widgets.module import joined_module

_STATIC = pathlib.Path(__file__).parent / "static" / "monitor"


class Watched(Protocol):
    """What is told about the views of a monitor."""

    def watch(self, view_id: str) -> None:
        """A view is open; said again every few seconds."""

    def leave(self, view_id: str) -> None:
        """A view was closed."""


class MonitorView(anywidget.AnyWidget):
    """Draws the frame that it was shown last."""

    _esm = joined_module(_STATIC)
    _css = _STATIC / "monitor.css"
    frame = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(self, watched: Watched) -> None:
        super().__init__()
        self._watched = watched
        heard_where_sent(self)
        self.on_msg(self._hear)

    def show(self, frame: dict[str, Any]) -> bool:
        """Draw a frame in all views; return whether it differs from the last one. From any thread."""
        if frame == self.frame:
            return False
        self.set_trait("frame", frame)
        return True

    def _hear(self, widget: object, content: Any, buffers: object) -> None:
        """Take a message of a view; what is no such message is not answered."""
        if not isinstance(content, dict) or not isinstance(view_id := content.get("view"), str):
            return
        if content.get("type") == "watch":
            self._watched.watch(view_id)
        elif content.get("type") == "leave":
            self._watched.leave(view_id)

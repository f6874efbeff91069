"""``pnb.monitor()``: a live picture of the engine.

It looks at the engine only while a view of it is open. A view says so when it is drawn, and every few seconds from then
on; it says goodbye when it goes, unless its page is just gone. The kernel does not hear views while a cell runs, so
silence alone proves nothing: looking ends when no view is left, or when all are silent and the engine has no work.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from pagednb import runtime
from pagednb.engine.status import EngineStatus, NotLoadedStatus
from pagednb.errors import PagednbError
from pagednb.monitoring.frame import UNLOADED, frame_of
from pagednb.monitoring.rates import Rates
from pagednb.monitoring.sampler import Look, Sampler
from pagednb.widgets.monitor import MonitorView

SILENCE_S = 60.0
"""A view that was not heard of for so long may be gone; views speak every 15 seconds."""
_COMING = "coming"  # stands for the view of a cell that shows the monitor, until the kernel is free to hear it


def monitor() -> Monitor:
    """Return the monitor of this process; a notebook cell that ends with it shows it.

    It draws who owns which KV block, the requests that run and wait, tokens a second, cache hits, step time and memory:
    four times a second at most, for less than one percent of the engine's time, and only while somebody watches.
    """
    return runtime.kept("monitor", Monitor)


class Monitor:
    """Looks at the process's engine while a view is open. ``view`` is the widget that all its views draw."""

    def __init__(self) -> None:
        self.view = MonitorView(self)
        self._lock = threading.Lock()  # views are heard on the kernel's threads
        self._last_heard_s: dict[str, float] = {}
        self._sampler: Sampler | None = None
        self._rates = Rates()
        self._hears_of_unload = False

    @property
    def is_watching(self) -> bool:
        """Whether the engine is being looked at."""
        return self._sampler is not None and self._sampler.is_running

    def watch(self, view_id: str) -> None:
        """A view is open: look at the engine, if one is loaded."""
        with self._lock:
            if view_id != _COMING:
                self._last_heard_s.pop(_COMING, None)
            self._last_heard_s[view_id] = time.monotonic()
            if not runtime.is_loaded():
                self.view.show(UNLOADED)
            elif not self.is_watching:
                self._start()

    def leave(self, view_id: str) -> None:
        """A view was closed; with the last one the looking ends."""
        with self._lock:
            self._last_heard_s.pop(view_id, None)
            is_last = not self._last_heard_s
        if is_last:
            self.stop()

    def stop(self) -> None:
        """Look no more; a view that is still open begins anew within seconds."""
        if self._sampler is not None:
            self._sampler.stop()

    def _start(self) -> None:
        if not self._hears_of_unload:
            self._hears_of_unload = True
            runtime.before_unload(self._end)
        self._sampler = Sampler(self._look)
        self._sampler.start()

    def _end(self) -> None:
        """The engine is about to be unloaded."""
        self._hears_of_unload = False
        self.stop()
        self.view.show(UNLOADED)

    def _look(self) -> Look | None:
        """On the sampler's thread: show the engine as it is; None when there is nothing to see, or nobody to see it."""
        status = _status()
        if status is None:
            self.view.show(UNLOADED)
            return None
        self._rates.add(status)
        frame = frame_of(status, self._rates.history)
        has_changed = self.view.show(frame)
        is_working = frame["state"] == "working"
        if not is_working and self._are_views_silent():
            return None
        return Look(status.cost_s, len(json.dumps(frame)) if has_changed else 0, is_working)

    def _are_views_silent(self) -> bool:
        return max(self._last_heard_s.copy().values(), default=0.0) < time.monotonic() - SILENCE_S

    def __repr__(self) -> str:
        error = None if self._sampler is None else self._sampler.error
        state = f"stopped by {error!r}" if error else "watching" if self.is_watching else "not watching"
        return f"<pagednb monitor: {state}>"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        self.watch(_COMING)
        status = _status() or NotLoadedStatus()
        # for readers without a kernel: a saved notebook on GitHub or nbviewer
        fallback = {"text/plain": repr(status), "text/html": status._repr_html_()}
        bundle = self.view._repr_mimebundle_(**options)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        return data | fallback, metadata


def _status() -> EngineStatus | None:
    try:
        status = runtime.status()
    except PagednbError:  # unloaded meanwhile, or dead
        return None
    return None if isinstance(status, NotLoadedStatus) else status

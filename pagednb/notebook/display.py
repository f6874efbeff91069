"""A completion that grows below the cell which asked for it.

Called by ``magics`` on the thread that runs the cell: output published by any other thread would land in whichever cell
ran last. Knows neither the engine nor the shell, only an iterator of outputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from IPython.display import DisplayHandle, display

from pagednb.outputs import RequestOutput

UPDATES_PER_S = 12
"""With the first and the last message on top, no second ever sees more than 15."""
LONG_TEXT_BYTES = 8192
"""Every update sends the whole text again; from this size on, less often."""
LONG_UPDATES_PER_S = 4
CURSOR = " ▌"


def stream_to_display(steps: Iterable[RequestOutput], *, clock: Callable[[], float] = time.monotonic) -> RequestOutput:
    """Show the cumulative ``steps`` of one request as they come, and return the last one.

    Whatever ends the stream early, KeyboardInterrupt included, passes through; the text so far stays, marked.
    """
    view = StreamView(clock=clock)
    output: RequestOutput | None = None
    try:
        for output in steps:
            view.grow(_markdown(output))
    except BaseException as error:
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopped by an error"
        view.end(_markdown(output) if output else "", note=f"⏹ {reason}")
        raise
    assert output is not None, "a stream yields at least its finished output"
    view.end(_markdown(output), note=_truncation(output))
    return output


class StreamView:
    """One rich output: created at once, updated at a bounded rate, completed once.

    Only the last message carries plain text too, so that a terminal, which cannot update, prints the text one time.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._handle: DisplayHandle = display({"text/markdown": CURSOR}, raw=True, display_id=True)
        self._last_update_s = clock()

    def grow(self, markdown: str) -> None:
        """Show the text so far, unless the last update was a moment ago."""
        is_long = len(markdown.encode()) > LONG_TEXT_BYTES
        interval_s = 1 / (LONG_UPDATES_PER_S if is_long else UPDATES_PER_S)
        now_s = self._clock()
        if now_s - self._last_update_s >= interval_s:
            self._last_update_s = now_s
            self._handle.update({"text/markdown": markdown + CURSOR}, raw=True)

    def end(self, text: str, *, note: str | None = None) -> None:
        """Show the whole text as it is saved with the notebook; ``note`` says why it ends where it does."""
        markdown = f"{text}\n\n*{note}*" if note else text
        plain = f"{text}\n[{note}]" if note else text
        self._handle.update({"text/markdown": markdown, "text/plain": plain}, raw=True)


def _markdown(output: RequestOutput) -> str:
    return "\n\n---\n\n".join(completion.text for completion in output.outputs)


def _truncation(output: RequestOutput) -> str | None:
    """Name the limit that cut the text, if one did."""
    cut = [completion for completion in output.outputs if completion.finish_reason == "length"]
    return f"stopped by the length limit after {len(cut[0].token_ids)} tokens" if cut else None

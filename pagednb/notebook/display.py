"""A completion that grows below the cell which asked for it.

Called by ``magics`` on the thread that runs the cell: output published by any other thread would land in whichever cell
ran last. Knows neither the engine nor the shell, only an iterator of outputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from IPython.display import DisplayHandle, display

from pagednb.interrupts import show_note
from pagednb.notebook.answer_format import ANSWER_FORMATS, AnswerFormat, Bundle
from pagednb.outputs import RequestOutput

UPDATES_PER_S = 12
"""With the first and the last message on top, no second ever sees more than 15."""
FREE_BYTES = 65_536
BYTES_A_BYTE = 24
"""Every update sends the whole text again. Beyond what is free, all updates together are so many times the text at
most: then an update waits until the text has grown by a 24th, which is less than anybody has read meanwhile."""

_INTERRUPTED, _FAILED = "interrupted", "stopped by an error"


def stream_to_display(
    steps: Iterable[RequestOutput],
    answer_format: AnswerFormat = ANSWER_FORMATS["markdown"],
    *,
    opening: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> RequestOutput:
    """Show the cumulative ``steps`` of one request as they come, and return the last one.

    ``opening`` is the part of the answer that the prompt already ended in.

    Whatever ends the stream early, KeyboardInterrupt included, passes through; the text so far stays, marked.
    """
    view = StreamView(answer_format, clock=clock)
    output: RequestOutput | None = None
    try:
        for output in steps:
            view.grow(_texts(output, opening))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            view.end(_texts(output, opening), note=f"■ {_INTERRUPTED}")
            show_note(error, "the text so far is kept.")
        else:  # of a prompt that was refused there is nothing to mark
            view.end(_texts(output, opening), note=f"■ {_FAILED}" if output else None)
        raise
    assert output is not None, "a stream yields at least its finished output"
    view.end(_texts(output, opening), note=_truncation(output))
    return output


class StreamView:
    """One rich output: created at once, updated at a bounded rate and within bounded traffic, completed once."""

    def __init__(self, answer_format: AnswerFormat, *, clock: Callable[[], float]) -> None:
        self._format = answer_format
        self._clock = clock
        self._live = answer_format.live()
        self._shown = self._live([""])
        self._handle: DisplayHandle = display(self._shown, raw=True, display_id=True)
        self._last_update_s = clock()
        self._num_bytes_sent = 0

    def grow(self, texts: Sequence[str]) -> None:
        """Show the texts so far, unless the last update was a moment ago or not much came since."""
        now_s = self._clock()
        if now_s - self._last_update_s < 1 / UPDATES_PER_S:
            return
        bundle = self._live(texts)
        num_bytes = _num_bytes(bundle)
        if bundle == self._shown or self._num_bytes_sent + num_bytes > FREE_BYTES + BYTES_A_BYTE * num_bytes:
            return
        self._shown, self._last_update_s = bundle, now_s
        self._num_bytes_sent += num_bytes
        self._handle.update(bundle, raw=True)

    def end(self, texts: Sequence[str], *, note: str | None = None) -> None:
        """Show the whole answer as it is saved with the notebook; ``note`` says why it ends where it does."""
        self._handle.update(self._format.final(texts, note), raw=True)


def _num_bytes(bundle: Bundle) -> int:
    return sum(len(text.encode()) for text in bundle.values())


def _texts(output: RequestOutput | None, opening: str) -> list[str]:
    return [opening + completion.text for completion in output.outputs] if output else [""]


def _truncation(output: RequestOutput) -> str | None:
    """Name the limit that cut the text, if one did."""
    cut = [completion for completion in output.outputs if completion.finish_reason == "length"]
    return f"stopped by the length limit after {len(cut[0].token_ids)} tokens" if cut else None

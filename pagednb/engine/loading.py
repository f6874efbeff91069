"""Loading and waking as the caller's thread sees them: the engine thread works, this one waits and shows progress.

An interrupt ends both: what is being loaded is given up as soon as the engine thread hears of it, and given back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagednb.engine.build import EngineBuilder, EngineParts, Progress
from pagednb.engine.core import EngineCore
from pagednb.engine.faults import dead_error
from pagednb.engine.loop import EngineLoop
from pagednb.errors import RequestCancelledError
from pagednb.interrupts import keeping_interrupts

if TYPE_CHECKING:
    from pagednb.engine.tokenization import TextCodec
    from pagednb.models.resolve import ResolvedModel


def build_engine(
    builder: EngineBuilder, resolved: ResolvedModel, loop: EngineLoop, progress: Progress | None
) -> tuple[EngineParts, TextCodec | None]:
    """Build on the engine thread; meanwhile load the tokenizer and show progress on this one, whose cell waits.

    Raises what the builder raises; the engine thread is gone then.
    """
    built: list[EngineParts] = []
    codecs: list[TextCodec | None] = []
    watch = _LoadWatch(loop, progress)

    def build() -> EngineCore:
        built.append(builder.build(resolved, watch.report))
        return built[0].core

    def wait() -> None:
        if not codecs:
            with keeping_interrupts():
                codecs.append(builder.load_codec(resolved))
        watch.show()

    try:
        loop.start(build, while_waiting=wait)
        wait()
    except BaseException:  # an interrupt too: whoever keeps its traceback would keep the engine
        loop.shutdown()
        raise
    return built[0], codecs[0]


def wake_up(loop: EngineLoop, progress: Progress | None) -> None:
    """Wake the engine up, showing progress on this thread; an interrupt leaves it asleep.

    Raises as ``EngineLoop.wake_up``.
    """
    watch = _LoadWatch(loop, progress)
    try:
        loop.wake_up(watch.report, while_waiting=watch.show)
        watch.show()
    except BaseException:
        watch.is_given_up = True
        raise


class _LoadWatch:
    """Carries progress from the threads that load to the one that waits, and its will to give up back to them."""

    def __init__(self, loop: EngineLoop, progress: Progress | None) -> None:
        self.is_given_up = False
        self._loop = loop
        self._progress = progress
        self._loaded = (0, 0)

    def report(self, num_done: int, num_total: int) -> None:
        """Note the bytes loaded, on any thread. Raises PagednbError when nobody wants them any longer."""
        if self._loop.is_stopping:
            raise dead_error(None)
        if self.is_given_up:
            raise RequestCancelledError("Loading was interrupted.")
        self._loaded = (num_done, num_total)

    def show(self) -> None:
        """Show how far it is, on the waiting thread."""
        if self._progress is not None and self._loaded[1]:
            self._progress(*self._loaded)

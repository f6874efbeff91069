"""The engine thread: the only one that touches scheduler and device.

Callers hand it commands through a queue and find news in their mailboxes. No lock is shared, so an interrupt in the
main thread can neither harm nor block it. It sleeps while there is nothing to do and prints nothing. Of text it knows
nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from pagednb.engine.core import EngineCore
from pagednb.engine.faults import (
    asleep_error,
    busy_error,
    cancelled_error,
    dead_error,
    drop_frames,
    forked_error,
    is_device_lost,
    step_error,
)
from pagednb.engine.mailbox import GIVE_UP_WAIT_S, WAIT_SLICE_S, AbortAcknowledged, Failure, Mailbox
from pagednb.engine.metrics import EngineCounters
from pagednb.engine.rare_collections import RARE_COLLECTIONS
from pagednb.engine.submission import Submission
from pagednb.engine.switch_interval import SHORT_TURNS
from pagednb.engine.waiting_callers import WaitingCallers
from pagednb.sleep_state import SleepLevel, SleepState

T = TypeVar("T")
Command = Callable[[EngineCore], None]
LINGER_S = 0.5
"""How long collections stay rare without work: a caller with many prompts, or a chat, comes back soon."""
EXIT_WAIT_S = 3.0
"""How long the process waits for the current step when it ends; a front end kills a kernel after five seconds."""


@dataclasses.dataclass(frozen=True, slots=True)
class _End:
    """The loop is over: shut down, or by ``cause``, a fault that cannot be undone."""

    cause: BaseException | None


class EngineLoop:
    """Runs one ``EngineCore`` on a daemon thread; methods without underscore may be called from any other thread."""

    def __init__(self) -> None:
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._end: _End | None = None
        self._asleep: SleepState | None = None  # set by the engine thread
        # touched by the engine thread only
        self._counters = EngineCounters()
        self._waiting = WaitingCallers(self._counters)

    @property
    def is_stopping(self) -> bool:
        """Whether ``stop`` was called; a build in progress should give up."""
        return self._is_stopping

    @property
    def is_over(self) -> bool:
        """Whether the engine will never answer again."""
        return self._end is not None or self._is_left_behind()

    @property
    def asleep(self) -> SleepState | None:
        """How the engine sleeps; None while it is awake."""
        return self._asleep

    def start(self, build: Callable[[], EngineCore], *, while_waiting: Callable[[], None]) -> None:
        """Build the core on the engine thread; ``while_waiting`` runs here every 0.1 s until it stands.

        Raises what ``build`` raised; the thread is gone then.
        """
        outcomes: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(build, outcomes), name="pagednb-engine", daemon=True)
        self._thread.start()
        atexit.register(self._end_with_process)
        try:
            error = _receive(outcomes, while_waiting)
        except BaseException:
            self.stop()
            self._thread.join(GIVE_UP_WAIT_S)  # so that the next load finds the memory free
            raise
        if error is not None:
            self._thread.join()
            raise error

    def submit(self, submissions: Sequence[Submission]) -> None:
        """Hand over requests of one mailbox, parents before children. Raises as ``raise_if_unable``."""
        self.raise_if_unable()
        self._commands.put(functools.partial(self._submit, submissions=submissions))

    def abort(self, request_ids: Sequence[int], mailbox: Mailbox) -> None:
        """End requests; their last updates and then an acknowledgement arrive in ``mailbox``."""
        self._commands.put(functools.partial(self._abort, request_ids=request_ids, mailbox=mailbox))

    def cancel_all(self) -> int:
        """End what every caller waits for: each gets RequestCancelledError. Returns how many sequences that were."""

        def cancel(core: EngineCore, counters: EngineCounters) -> int:
            num_sequences = len(self._waiting)
            counters.num_finished += len(core.scheduler.abort(self._waiting.request_ids))
            self._waiting.fail_all(cancelled_error)
            return num_sequences

        return self.call(cancel)

    def sleep(self, level: SleepLevel) -> None:
        """Put the core to sleep. Raises EngineBusyError while requests are under way, else as ``EngineCore.sleep``."""

        def fall_asleep(core: EngineCore, counters: EngineCounters) -> None:
            if self._waiting:
                raise busy_error(len(self._waiting))
            core.sleep(level)
            self._asleep = core.asleep

        self.call(fall_asleep)

    def wake_up(self, progress: Callable[[int, int], None], *, while_waiting: Callable[[], None]) -> None:
        """Wake the core up; ``progress`` is called on any thread. Raises as ``EngineCore.wake_up``."""

        def wake(core: EngineCore, counters: EngineCounters) -> None:
            core.wake_up(progress)
            self._asleep = core.asleep

        self.call(wake, while_waiting=while_waiting)

    def call(
        self, function: Callable[[EngineCore, EngineCounters], T], *, while_waiting: Callable[[], None] | None = None
    ) -> T:
        """Run ``function`` on the engine thread between two steps and return its result, or raise its exception.

        ``while_waiting`` runs here every 0.1 s. A device that is found lost ends the engine.
        """
        assert threading.current_thread() is not self._thread, "the engine thread would wait for itself"
        replies: queue.SimpleQueue[tuple[T, None] | tuple[None, Exception]] = queue.SimpleQueue()

        def command(core: EngineCore) -> None:
            try:
                replies.put((function(core, self._counters), None))
            except Exception as error:  # thread boundary: the caller gets it
                drop_frames(error)
                replies.put((None, error))
                if is_device_lost(error):
                    raise

        def wait() -> None:
            self.raise_if_over()
            if while_waiting is not None:
                while_waiting()

        self.raise_if_over()
        self._commands.put(command)
        result, error = _receive(replies, wait)
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # the first of the pair belongs to error None

    def stop(self) -> None:
        """Ask the thread to end after the current step; does not wait. Safe to call twice, and from a finaliser."""
        self._is_stopping = True
        self._commands.put(_wake_up)

    def shutdown(self) -> None:
        """End the thread and free the device; waiting callers get EngineDeadError. Safe to call twice."""
        self.stop()
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(WAIT_SLICE_S)
        atexit.unregister(self._end_with_process)  # it would keep this object, and what callers sent last, for good

    def _end_with_process(self) -> None:
        """End the thread before the interpreter does: a thread that is killed inside torch aborts the process."""
        self.stop()
        if self._thread is not None:
            self._thread.join(EXIT_WAIT_S)

    def raise_if_over(self) -> None:
        """Raise EngineDeadError if the engine will never answer again."""
        if self._end is not None:
            raise dead_error(self._end.cause)
        if self._is_left_behind():
            raise forked_error()

    def raise_if_unable(self) -> None:
        """Raise what a request would meet now: EngineDeadError or EngineAsleepError."""
        self.raise_if_over()
        if self._asleep is not None:
            raise asleep_error()

    def _is_left_behind(self) -> bool:
        """Whether this process was forked from the one with the thread, which else ends only after ``_end`` is set."""
        return self._thread is not None and not self._thread.is_alive() and self._end is None

    # everything below runs on the engine thread

    def _run(self, build: Callable[[], EngineCore], outcomes: queue.SimpleQueue[BaseException | None]) -> None:
        try:
            self._build_and_serve(build, outcomes)
        finally:
            atexit.unregister(self._end_with_process)

    def _build_and_serve(
        self, build: Callable[[], EngineCore], outcomes: queue.SimpleQueue[BaseException | None]
    ) -> None:
        try:
            core = build()
        except BaseException as error:  # noqa: BLE001  (thread boundary: ``start`` raises it)
            drop_frames(error)
            self._end = _End(error)
            outcomes.put(error)
            return
        outcomes.put(None)
        cause: BaseException | None = None
        try:
            self._serve(core)
        except BaseException as error:  # noqa: BLE001  (thread boundary: every caller gets it from now on)
            drop_frames(error)
            cause = error
        self._end = _End(cause)
        self._waiting.fail_all(lambda: dead_error(cause))
        # a device that is lost cannot free what it holds
        with contextlib.suppress(Exception) if cause is not None else contextlib.nullcontext():
            core.shutdown()

    def _serve(self, core: EngineCore) -> None:
        """Sleep, wake up by a command, work until nothing is left. Raises only what cannot be recovered from."""
        while not self._is_stopping:
            command: Command | None = self._commands.get()
            with RARE_COLLECTIONS:
                while command is not None and not self._is_stopping:
                    with SHORT_TURNS:
                        self._work(core, command)
                    command = self._next_command(LINGER_S)

    def _work(self, core: EngineCore, command: Command) -> None:
        """Run a command, then steps until nothing is left."""
        try:
            command(core)
            while core.has_work and not self._is_stopping:
                self._step(core)
        except Exception as error:  # noqa: BLE001  (thread boundary: every waiting caller gets it)
            self._recover(core, error)

    def _next_command(self, timeout_s: float) -> Command | None:
        try:
            return self._commands.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _step(self, core: EngineCore) -> None:
        """Run the commands that are there, then one step."""
        for _ in range(self._commands.qsize()):  # not until empty: a caller may submit faster than this loop takes
            self._commands.get_nowait()(core)
        if core.has_work:
            self._waiting.deliver(core, core.step())
            self._counters.record(core)

    def _recover(self, core: EngineCore, error: Exception) -> None:
        drop_frames(error)
        if is_device_lost(error):
            raise error
        core.reset()
        self._waiting.fail_all(lambda: step_error(error))

    def _submit(self, core: EngineCore, *, submissions: Sequence[Submission]) -> None:
        if self._asleep is not None:  # since it was sent
            submissions[0].mailbox.put(Failure(asleep_error()))
        else:
            self._waiting.submit(core, submissions)

    def _abort(self, core: EngineCore, *, request_ids: Sequence[int], mailbox: Mailbox) -> None:
        self._waiting.deliver(core, core.scheduler.abort(request_ids))
        mailbox.put(AbortAcknowledged())


def _receive(replies: queue.SimpleQueue[T], each_slice: Callable[[], None]) -> T:
    """Wait for one reply in slices, so that Ctrl-C works."""
    while True:
        try:
            return replies.get(timeout=WAIT_SLICE_S)
        except queue.Empty:
            each_slice()


def _wake_up(core: EngineCore) -> None:
    """A command that does nothing."""

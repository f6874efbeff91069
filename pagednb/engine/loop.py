"""The engine thread: the only one that touches scheduler and device.

Callers hand it commands through a queue and find news in their mailboxes. No lock is shared, so an interrupt in the
main thread can neither harm nor block it. It sleeps while there is nothing to do and prints nothing. Of text it knows
nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from pagednb.engine.core import EngineCore
from pagednb.engine.core_service import CoreService
from pagednb.engine.faults import asleep_error, dead_error, drop_frames, forked_error, is_device_lost
from pagednb.engine.mailbox import GIVE_UP_WAIT_S, WAIT_SLICE_S, Mailbox
from pagednb.engine.rare_collections import RARE_COLLECTIONS
from pagednb.engine.submission import Submission
from pagednb.engine.switch_interval import SHORT_TURNS
from pagednb.interrupts import keeping_interrupts
from pagednb.sleep_state import SleepLevel, SleepState

T = TypeVar("T")
Command = Callable[[CoreService], None]
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
        self._service: CoreService | None = None  # while it serves

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
        return None if (service := self._service) is None else service.asleep

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
        self._commands.put(lambda service: service.submit(submissions))

    def abort(self, request_ids: Sequence[int], mailbox: Mailbox) -> None:
        """End requests; their last updates and then an acknowledgement arrive in ``mailbox``."""
        self._commands.put(lambda service: service.abort(request_ids, mailbox))

    def cancel_all(self) -> int:
        """End what every caller waits for: each gets RequestCancelledError. Returns how many sequences that were."""
        return self.call(CoreService.cancel_all)

    def sleep(self, level: SleepLevel) -> None:
        """Put the core to sleep. Raises EngineBusyError while requests are under way, else as ``EngineCore.sleep``."""
        self.call(lambda service: service.sleep(level))

    def wake_up(self, progress: Callable[[int, int], None], *, while_waiting: Callable[[], None]) -> None:
        """Wake the core up; ``progress`` is called on any thread. Raises as ``EngineCore.wake_up``."""
        self.call(lambda service: service.wake_up(progress), while_waiting=while_waiting)

    def call(self, function: Callable[[CoreService], T], *, while_waiting: Callable[[], None] | None = None) -> T:
        """Run ``function`` on the engine thread between two steps and return its result, or raise its exception.

        ``while_waiting`` runs here every 0.1 s. A device that is found lost ends the engine.
        """
        assert threading.current_thread() is not self._thread, "the engine thread would wait for itself"
        replies: queue.SimpleQueue[tuple[T, None] | tuple[None, Exception]] = queue.SimpleQueue()

        def command(service: CoreService) -> None:
            try:
                replies.put((function(service), None))
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
            with keeping_interrupts():
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
        if self.asleep is not None:
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
        self._service = service = CoreService(core)
        outcomes.put(None)
        cause: BaseException | None = None
        try:
            self._serve(service)
        except BaseException as error:  # noqa: BLE001  (thread boundary: every caller gets it from now on)
            drop_frames(error)
            cause = error
        self._end, self._service = _End(cause), None
        service.end(lambda: dead_error(cause))
        # a device that is lost cannot free what it holds
        with contextlib.suppress(Exception) if cause is not None else contextlib.nullcontext():
            core.shutdown()

    def _serve(self, service: CoreService) -> None:
        """Sleep, wake up by a command, work until nothing is left. Raises only what cannot be recovered from."""
        while not self._is_stopping:
            command: Command | None = self._commands.get()
            with RARE_COLLECTIONS:
                while command is not None and not self._is_stopping:
                    with SHORT_TURNS:
                        self._work(service, command)
                    command = self._next_command(LINGER_S)

    def _work(self, service: CoreService, command: Command) -> None:
        """Run a command, then steps until nothing is left; before each step the commands that are there."""
        try:
            command(service)
            while service.core.has_work and not self._is_stopping:
                for _ in range(self._commands.qsize()):  # not until empty: a caller may submit faster than they run
                    self._commands.get_nowait()(service)
                service.step()
        except Exception as error:  # noqa: BLE001  (thread boundary: every waiting caller gets it)
            service.recover(error)

    def _next_command(self, timeout_s: float) -> Command | None:
        try:
            return self._commands.get(timeout=timeout_s)
        except queue.Empty:
            return None


def _receive(replies: queue.SimpleQueue[T], each_slice: Callable[[], None]) -> T:
    """Wait for one reply in slices, so that Ctrl-C works."""
    while True:
        with keeping_interrupts():
            try:
                return replies.get(timeout=WAIT_SLICE_S)
            except queue.Empty:
                each_slice()


def _wake_up(service: CoreService) -> None:
    """A command that does nothing."""

"""What commands do on the engine thread: one core, and those who wait for it. That thread alone comes here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pagednb.engine.core import EngineCore
from pagednb.engine.faults import asleep_error, busy_error, cancelled_error, drop_frames, is_device_lost, step_error
from pagednb.engine.mailbox import AbortAcknowledged, Failure, Mailbox
from pagednb.engine.metrics import EngineCounters
from pagednb.engine.submission import Submission
from pagednb.engine.waiting_callers import WaitingCallers
from pagednb.errors import PagednbError
from pagednb.sleep_state import SleepLevel, SleepState


class CoreService:
    """Serves ``core``; ``counters`` are of all that it did.

    Attributes:
        asleep: how the core sleeps, None while it is awake. Other threads may look.
    """

    def __init__(self, core: EngineCore) -> None:
        self.core = core
        self.counters = EngineCounters()
        self.asleep: SleepState | None = core.asleep
        self._waiting = WaitingCallers(self.counters)

    @property
    def num_waiting(self) -> int:
        """Sequences that somebody waits for."""
        return len(self._waiting)

    def step(self) -> None:
        """Run one step and deliver what it brought. Does nothing when there is nothing to do."""
        if self.core.has_work:
            self._waiting.deliver(self.core, self.core.step())
            self.counters.record(self.core)

    def recover(self, error: Exception) -> None:
        """Forget all that is under way after a fault, which every caller is told of. Raises what cannot be undone."""
        drop_frames(error)
        if is_device_lost(error):
            raise error
        self.core.reset()
        self._waiting.fail_all(lambda: step_error(error))

    def submit(self, submissions: Sequence[Submission]) -> None:
        """Take requests of one mailbox, parents before children."""
        if self.asleep is not None:  # since they were sent
            submissions[0].mailbox.put(Failure(asleep_error()))
        else:
            self._waiting.submit(self.core, submissions)

    def abort(self, request_ids: Sequence[int], mailbox: Mailbox) -> None:
        """End requests; their last updates and then an acknowledgement arrive in ``mailbox``."""
        self._waiting.deliver(self.core, self.core.scheduler.abort(request_ids))
        mailbox.put(AbortAcknowledged())

    def cancel_all(self) -> int:
        """End what every caller waits for: each gets RequestCancelledError. Returns how many sequences that were."""
        num_sequences = len(self._waiting)
        self.counters.num_finished += len(self.core.scheduler.abort(self._waiting.request_ids))
        self._waiting.fail_all(cancelled_error)
        return num_sequences

    def sleep(self, level: SleepLevel) -> None:
        """Put the core to sleep. Raises EngineBusyError while requests are under way, else as ``EngineCore.sleep``."""
        if self._waiting:
            raise busy_error(len(self._waiting))
        self.core.sleep(level)
        self.asleep = self.core.asleep

    def wake_up(self, progress: Callable[[int, int], None]) -> None:
        """Wake the core up; ``progress`` is called on any thread. Raises as ``EngineCore.wake_up``."""
        self.core.wake_up(progress)
        self.asleep = self.core.asleep

    def end(self, make_error: Callable[[], PagednbError]) -> None:
        """Tell every waiting call that nothing will come any more, each with an exception of its own."""
        self._waiting.fail_all(make_error)

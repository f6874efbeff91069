"""A run over rows on a thread of its own: ``background=True``, and what stands behind every awaitable verb.

The thread only runs rows. What shows something or warns (placing results, reporting failures) happens on the thread
that asks for the result, under the cell it asks in. The thread ends with the run.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import functools
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, ParamSpec, TypeVar

from pagednb.dataframe.results.figures import RunFigures
from pagednb.dataframe.run.progress import Watch
from pagednb.errors import RequestCancelledError
from pagednb.interrupts import keeping_interrupts, show_note

POLL_S = 0.1
GIVE_UP_WAIT_S = 0.5
Outcome = TypeVar("Outcome")
Result = TypeVar("Result")
P = ParamSpec("P")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work(Generic[Outcome, Result]):
    """A run in three parts.

    Attributes:
        num_rows: rows of the frame.
        run: does the work and returns its outcome; calls what it is given at least ten times a second.
        finish: turns the outcome into what the verb returns; may warn and raise.
        partial: what the verb would return for the rows done so far; may be called while ``run`` runs.
    """

    num_rows: int
    run: Callable[[Watch], Outcome]
    finish: Callable[[Outcome], Result]
    partial: Callable[[], Result]


class Job(Generic[Result]):
    """A run in the background. Its methods may be called from any thread, and ``await job`` works in any event loop."""

    def __init__(self, work: Work[Any, Result]) -> None:
        self._work = work
        self._figures = RunFigures(rows=work.num_rows)
        self._is_cancelled = threading.Event()
        self._outcome: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._result: Result | None = None
        self._is_finished = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="pagednb job", daemon=True)
        self._outcome.set_running_or_notify_cancel()
        self._thread.start()

    @property
    def progress(self) -> RunFigures:
        """Figures of this moment."""
        return dataclasses.replace(self._figures)

    @property
    def is_done(self) -> bool:
        """Whether the run is over: finished, failed or cancelled."""
        return self._outcome.done()

    def partial(self) -> Result:
        """Return what the verb returns, with NA for rows that are not done yet; warns of nothing."""
        return self._work.partial()

    def cancel(self) -> bool:
        """Abort this job's requests and no others; rows that are done are kept. Returns whether it was still running.

        Waits until the engine has let go of them, as long as a user would.
        """
        if self.is_done:
            return False
        self._is_cancelled.set()
        concurrent.futures.wait([self._outcome], timeout=GIVE_UP_WAIT_S)
        return True

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the run to end and return what the verb returns. An interrupt ends the wait, not the job.

        Raises:
            TimeoutError: ``timeout`` seconds have passed.
            RequestCancelledError: the job was cancelled.
            PagednbError: what the verb raises.
        """
        try:
            self._wait(timeout)
        except KeyboardInterrupt as interrupt:
            show_note(interrupt, "the job goes on. job.cancel() ends it, job.partial() looks at it.")
            raise
        outcome = self._outcome.result()
        self._thread.join()
        with self._lock:
            if not self._is_finished:
                self._result = self._work.finish(outcome)
                self._is_finished = True
        return self._result  # type: ignore[return-value]  # finished above

    def __await__(self) -> Generator[Any, None, Result]:
        return self._result_async().__await__()

    def __repr__(self) -> str:
        state = "done" if self.is_done else "running"
        if self.is_done and self._outcome.exception() is not None:
            state = "cancelled" if self._is_cancelled.is_set() else "failed"
        return f"<pagednb Job: {self._figures.rows_done}/{self._figures.rows} rows, {state}>"

    def _wait(self, timeout: float | None) -> None:
        left_s = float("inf") if timeout is None else timeout
        while not self._outcome.done():
            if left_s <= 0:
                raise TimeoutError(f"{self!r} was not done in {timeout} s.")
            with keeping_interrupts():
                concurrent.futures.wait([self._outcome], timeout=min(POLL_S, left_s))
            left_s -= POLL_S

    async def _result_async(self) -> Result:
        """Look every 0.1 s: a kernel can interrupt an awaited cell only when its event loop wakes up."""
        waker = asyncio.wrap_future(self._outcome)
        waker.add_done_callback(_look)
        while not self._outcome.done():
            await asyncio.wait({waker}, timeout=POLL_S)
        return self.result()

    def _run(self) -> None:
        try:
            outcome = self._work.run(self._note)
        except BaseException as error:  # noqa: BLE001  the thread's boundary: it goes to whoever asks for the result
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(outcome)

    def _note(self, figures: RunFigures) -> None:
        self._figures = dataclasses.replace(figures)
        if self._is_cancelled.is_set():
            raise RequestCancelledError(
                f"The job was cancelled: {figures.rows_done}/{figures.rows} rows were done.",
                hint="job.partial() holds them.",
            )


async def awaited(job: Job[Result]) -> Result:
    """Return the job's result; whatever ends the wait early (an interrupt, a cancelled task) cancels the job."""
    try:
        return await job
    except (KeyboardInterrupt, asyncio.CancelledError) as interrupt:
        job.cancel()
        done = f"{job.progress.rows_done}/{job.progress.rows} done"
        show_note(interrupt, f"{done}; pagednb.last_run().frame holds them if no other run was started since.")
        raise
    except BaseException:
        job.cancel()
        raise


def awaitable(verb: Callable[P, Any]) -> Callable[P, Awaitable[Any]]:
    """Return the ``a…`` variant of a verb that takes ``background=``."""

    @functools.wraps(verb)
    async def averb(*args: P.args, **options: P.kwargs) -> Any:
        return await awaited(verb(*args, **{**options, "background": True}))  # type: ignore[arg-type]

    averb.__name__ = f"a{verb.__name__}"
    averb.__qualname__ = f"{verb.__qualname__.rpartition('.')[0]}.{averb.__name__}"
    averb.__doc__ = f"Awaitable ``{verb.__name__}`` with the same options; other tasks run meanwhile."
    return averb


def _look(future: asyncio.Future[Any]) -> None:
    """Take note of an error, which asyncio would print otherwise; ``result`` raises it."""
    if not future.cancelled():
        future.exception()

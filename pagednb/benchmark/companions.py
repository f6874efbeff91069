"""What runs beside a chat: a batch on the same engine, or a cell that computes in pure Python. One thread each."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from pagednb.benchmark.batch_run import generate_timed
from pagednb.benchmark.workloads import TimedRequest
from pagednb.engine.llm_engine import LLMEngine
from pagednb.errors import RequestCancelledError
from pagednb.outputs import RequestOutput


class BatchBeside:
    """Runs ``requests`` at once on a thread of its own, within a ``with`` block; leaving it early ends the batch."""

    def __init__(self, engine: LLMEngine, requests: Sequence[TimedRequest]) -> None:
        self._engine = engine
        self._requests = requests
        self._thread = threading.Thread(target=self._run, name="pagednb-bench-batch", daemon=True)
        self._is_cancelled = False
        self._outcome: float | BaseException | None = None

    @property
    def is_over(self) -> bool:
        """Whether the batch has ended, well or not."""
        return self._outcome is not None

    def seconds(self) -> float:
        """Wait for the end and return how long the batch took, or raise what ended it."""
        self._thread.join()
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_cancelled = True
        self._thread.join()

    def _run(self) -> None:
        try:
            timed = generate_timed(self._engine, self._requests, progress=self._give_up_if_cancelled)
            self._outcome = timed.seconds
        except BaseException as error:  # noqa: BLE001  (thread boundary: ``seconds`` raises it)
            self._outcome = error

    def _give_up_if_cancelled(self, finished: list[RequestOutput]) -> None:
        if self._is_cancelled:
            raise RequestCancelledError("The benchmark was interrupted.")


@contextlib.contextmanager
def busy_cell() -> Iterator[None]:
    """Keep a thread busy with pure Python, as a cell that computes would, until the block ends."""
    is_over = threading.Event()

    def compute() -> None:
        total = 0
        while not is_over.is_set():
            for number in range(10_000):
                total += number * number

    thread = threading.Thread(target=compute, name="pagednb-bench-busy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()

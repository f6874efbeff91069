"""What ends requests early: on purpose, by a fault, with a lost engine; and keeping no tensor alive through it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from pagednb.errors import (
    EngineAsleepError,
    EngineBusyError,
    EngineDeadError,
    EngineStepError,
    PagednbError,
    RequestCancelledError,
)
from pagednb.outputs import RequestOutput

_DEVICE_LOST_WORDS = ("CUDA error", "Triton Error [CUDA]", "CUBLAS_STATUS_EXECUTION_FAILED")


def is_device_lost(error: BaseException) -> bool:
    """Whether the CUDA context is gone: every later call on the device fails until the process ends."""
    import torch

    return any(
        isinstance(cause, torch.AcceleratorError) or any(word in str(cause) for word in _DEVICE_LOST_WORDS)
        for cause in _chain(error)
        if not isinstance(cause, PagednbError)  # our own sentences may quote CUDA and mean something harmless
    )


def drop_frames(error: BaseException) -> None:
    """Clear the local variables of the frames that ``error`` passed: they hold tensors as long as it lives.

    The traceback keeps its lines; a notebook keeps the last one for good.
    """
    for cause in _chain(error):
        traceback.clear_frames(cause.__traceback__)


def step_error(cause: BaseException) -> EngineStepError:
    """Return what waiting callers get when a step failed and the engine recovered."""
    error = EngineStepError(
        f"A step of the engine failed ({_one_line(cause)}); the requests in flight are lost.",
        hint="The engine is ready for the next request.",
    )
    error.__cause__ = cause
    return error


def raise_if_aborted(output: RequestOutput) -> None:
    """Raise EngineStepError if an answer was broken off; for callers who need it for something else."""
    for completion in output.outputs:
        if completion.finish_reason == "abort":
            raise EngineStepError(str(completion.stop_reason or "The request was aborted."))


def cancelled_error() -> RequestCancelledError:
    """Return what waiting callers get when everything under way is ended on purpose."""
    return RequestCancelledError("The request was cancelled, with all others that were under way.")


def asleep_error() -> EngineAsleepError:
    """Return what callers get while the engine sleeps."""
    return EngineAsleepError("The engine is asleep.", hint="Call wake_up() or %llm wake first.")


def busy_error(num_sequences: int) -> EngineBusyError:
    """Return what a caller gets who wants the engine to sleep in the midst of work."""
    what = "1 request is" if num_sequences == 1 else f"{num_sequences:,} requests are"
    return EngineBusyError(
        f"The engine cannot sleep while {what} under way.",
        hint="Wait for the end, or use %llm cancel or engine.cancel_all() first.",
    )


def dead_error(cause: BaseException | None) -> EngineDeadError:
    """Return what all callers get from now on. Without a cause the engine was shut down on purpose."""
    if cause is None:
        return EngineDeadError("The engine was shut down.", hint="Load it again.")
    error = EngineDeadError(
        f"The engine is dead ({_one_line(cause)}): its device context is lost or its state cannot be restored.",
        hint="Restart the kernel, then load it again.",
    )
    error.__cause__ = cause
    return error


def forked_error() -> EngineDeadError:
    """Return what callers get in a process that was forked from the one with the engine: threads are not copied."""
    return EngineDeadError(
        "The engine belongs to the process that loaded it, and this one was forked from it.",
        hint="Use it there, or load a model here.",
    )


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        cause = pending.pop()
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            pending += [cause.__cause__, cause.__context__]

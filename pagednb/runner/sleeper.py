"""Lets a runner give its device back and take it again: sleeping, at one of two levels, and waking.

Called by the engine core, on the engine thread, when no request is under way. Waking is building again, by the same
path as loading; only the source of the weights is another, and the number of KV blocks is the one that there was.
"""

from __future__ import annotations

from typing import Protocol

import torch

from pagednb.errors import GPUMemoryError, OptionError
from pagednb.models.kept_weights import KeptWeights
from pagednb.models.load import LoadProgress
from pagednb.runner.memory import DeviceMemory, gib
from pagednb.runner.model_runner import ModelRunner
from pagednb.sleep_state import SleepLevel, SleepState


class BuildAgain(Protocol):
    """Builds a runner as the first one was, with as many blocks, from ``kept`` weights or from the checkpoint."""

    def __call__(self, *, kept: KeptWeights | None, progress: LoadProgress) -> ModelRunner:
        """See ``build_runner``."""


class Sleeper:
    """Puts one runner to sleep and wakes it up. ``state`` says how it sleeps; None while it is awake."""

    def __init__(self, runner: ModelRunner, build: BuildAgain) -> None:
        self.state: SleepState | None = None
        self._runner = runner
        self._build = build
        self._kept: KeptWeights | None = None

    def sleep(self, level: SleepLevel) -> None:
        """Give the device back; a failure leaves the runner awake. Asleep at level 1, it can still go to level 2.

        Raises:
            GPUMemoryError: the host has no room for the weights.
            OptionError: it sleeps without its weights, which level 1 would keep.
        """
        if self.state is None:
            if level == 1:
                self._kept = self._weights_on_host()
            self._runner.shutdown()
        elif level < self.state.level:
            raise OptionError(
                "The engine sleeps at level 2, without its weights; level 1 would keep them.", hint="Wake it up first."
            )
        elif level == 2:
            self.forget()
        self.state = SleepState(level, host_bytes=0 if self._kept is None else self._kept.num_bytes)

    def wake_up(self, progress: LoadProgress) -> None:
        """Take the device again. Does nothing when awake; a failure leaves it asleep, to be woken up later.

        Raises:
            GPUMemoryError: others have taken the memory.
            ModelLoadError, WeightError: the checkpoint is gone or broken.
        """
        if self.state is None:
            return
        try:
            runner = self._build(kept=self._kept, progress=progress)
        except GPUMemoryError as error:
            hint = "Free what others hold, then wake it up again."
            raise GPUMemoryError(f"The engine stays asleep. {error.message}", hint=hint) from None
        try:
            progress(runner.memory.weight_bytes, runner.memory.weight_bytes)  # the last chance to give up
        except BaseException:
            runner.shutdown()
            raise
        self._runner.adopt(runner)
        self.forget()
        self.state = None

    def forget(self) -> None:
        """Let go of the weights on the host, at once: nobody needs them any more."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _weights_on_host(self) -> KeptWeights:
        weights = self._runner.weights
        num_bytes = sum(tensor.nbytes for tensor in weights.values() if tensor.device.type != "cpu")
        free_bytes = DeviceMemory.measure(torch.device("cpu")).free_bytes
        if num_bytes > free_bytes:
            raise GPUMemoryError(
                f"Level 1 keeps the weights in host memory: {gib(num_bytes)}, where {gib(free_bytes)} are free.",
                hint="Free some of it, or sleep at level 2, which reads the weights from disk again.",
            )
        return KeptWeights.of(weights)

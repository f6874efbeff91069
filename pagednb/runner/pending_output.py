"""The tokens of a launched step, on their way to the host."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pagednb.runner.step import StepTokens
from pagednb.runner.timed_span import TimedSpan
from pagednb.sampling.transfer import to_host
from pagednb.scheduler.output import RunnerOutput


class PendingOutput:
    """Made by the runner on its stream right after a step is launched; ``result``, called once, waits for it.

    ``end`` is recorded when the tokens are on the host; None on a CPU. ``previous_end`` is that of the step before.
    ``swap_spans`` are the step's moves of blocks.
    """

    def __init__(
        self,
        tokens: StepTokens,
        *,
        previous_end: torch.cuda.Event | None = None,
        swap_spans: Sequence[TimedSpan] = (),
    ) -> None:
        self._where = tokens.where
        self._failures = tokens.failures
        self._pooled = None if tokens.pooled is None else to_host(tokens.pooled)
        self._host_copies = tokens.host_copies
        if tokens.host_copies:
            # an allocation less: every call into torch is one in which another thread may take the interpreter lock
            self._token_ids = tokens.host_copies.pop().copy_(tokens.token_ids, non_blocking=True)
        else:
            self._token_ids = to_host(tokens.token_ids)
        self._logprobs = None if tokens.logprobs is None else tokens.logprobs.to_host()
        self._prompt_logprobs = None if tokens.prompt_logprobs is None else tokens.prompt_logprobs.to_host()
        self._previous_end = previous_end
        self._swap_spans = swap_spans
        self.end: torch.cuda.Event | None = None
        if tokens.token_ids.is_cuda:
            self.end = torch.cuda.Event(enable_timing=True)
            self.end.record()

    @property
    def is_ready(self) -> bool:
        """Whether ``result`` would return at once."""
        return self.end is None or self.end.query()

    def result(self) -> RunnerOutput:
        """Wait until the copies have arrived and return them. A fault of the device surfaces here."""
        if self.end is not None:
            self.end.synchronize()
        token_ids = self._token_ids.numpy()[self._where]
        if self._host_copies is not None:
            token_ids = token_ids.copy()
            self._host_copies.append(self._token_ids)
        return RunnerOutput(
            token_ids=token_ids,
            logprobs=None if self._logprobs is None else self._logprobs.to_arrays(),
            prompt_logprobs=None if self._prompt_logprobs is None else self._prompt_logprobs.to_arrays(),
            failures=self._failures,
            pooled=None if self._pooled is None else self._pooled.numpy(),
            device_s=self._device_s(),
            swap_s=sum(span.seconds for span in self._swap_spans) if self._swap_spans else None,
        )

    def _device_s(self) -> float | None:
        if self.end is None or self._previous_end is None:
            return None
        return float(self._previous_end.elapsed_time(self.end)) / 1e3

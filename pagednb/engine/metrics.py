"""Figures that the engine thread counts, and where the device's memory goes."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pagednb.engine.core import EngineCore

RATE_WINDOW_S = 10.0
_SAMPLE_S = 0.25
_OWN_PARTS = ("weight_bytes", "offloaded_bytes", "activation_bytes", "graph_bytes", "kv_cache_bytes", "own_bytes")


class EngineCounters:
    """Finished requests and token throughput, kept by the engine loop."""

    def __init__(self) -> None:
        self.num_finished = 0
        self.start_s = time.perf_counter()
        # (time, prompt tokens computed so far, tokens generated so far), about _SAMPLE_S apart
        self._samples: deque[tuple[float, int, int]] = deque([(self.start_s, 0, 0)])

    def record(self, core: EngineCore) -> None:
        """Note the totals after a step."""
        now_s = time.perf_counter()
        if len(self._samples) > 1 and now_s - self._samples[-2][0] < _SAMPLE_S:
            self._samples.pop()
        self._samples.append((now_s, core.num_prefill_tokens, core.num_sampled_tokens))
        while len(self._samples) > 1 and self._samples[1][0] < now_s - RATE_WINDOW_S:
            self._samples.popleft()

    def tokens_per_s(self) -> tuple[float, float]:
        """Return prompt and generated tokens per second over the last ``RATE_WINDOW_S`` seconds."""
        now_s = time.perf_counter()
        window_start_s = now_s - RATE_WINDOW_S
        while len(self._samples) > 1 and self._samples[1][0] < window_start_s:
            self._samples.popleft()
        first_s, first_in, first_out = self._samples[0]
        _, last_in, last_out = self._samples[-1]
        seconds = max(now_s - max(first_s, window_start_s), _SAMPLE_S)
        return (last_in - first_in) / seconds, (last_out - first_out) / seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """Where the device's memory goes, in bytes.

    Attributes:
        used_before_bytes: held by others, and by this process's CUDA context, when the engine was loaded.
        weight_bytes: with the buffers through which offloaded weights pass.
        activation_bytes, graph_bytes: kept free for what a step needs and for CUDA graphs.
        offloaded_bytes: weights that live in host memory.
        used_bytes: held by anyone now; 0 where it is not measured.
        own_bytes: held by this process's tensors now, the user's own among them; 0 where it is not measured.
    """

    total_bytes: int
    used_before_bytes: int
    weight_bytes: int
    activation_bytes: int
    graph_bytes: int
    kv_cache_bytes: int
    offloaded_bytes: int = 0
    used_bytes: int = 0
    own_bytes: int = 0

    def asleep(self, used_bytes: int) -> MemoryUse:
        """Return it without the engine's own part; ``used_bytes`` are held by anyone now."""
        nothing = dict.fromkeys(_OWN_PARTS, 0)
        return dataclasses.replace(self, used_bytes=used_bytes, **nothing)

    @property
    def working_bytes(self) -> int:
        """What steps and graphs take: as measured, or else what is kept free for them."""
        if not self.own_bytes:
            return self.activation_bytes + self.graph_bytes
        return max(0, self.own_bytes - self.weight_bytes - self.kv_cache_bytes)

    @property
    def other_bytes(self) -> int:
        """Held by other processes and by contexts: now, or as it was at loading."""
        return max(0, self.used_bytes - self.own_bytes) if self.used_bytes else self.used_before_bytes

    @property
    def free_bytes(self) -> int:
        """What is left."""
        taken = self.weight_bytes + self.kv_cache_bytes + self.working_bytes + self.other_bytes
        return max(0, self.total_bytes - taken)

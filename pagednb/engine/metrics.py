"""What the engine is doing, as figures: counted on the engine thread, shown as a table in text and HTML."""

from __future__ import annotations

import dataclasses
import html
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pagednb.engine.core import EngineCore
    from pagednb.models.resolve import ResolvedModel
    from pagednb.scheduler.stats import SchedulerStats

RATE_WINDOW_S = 10.0
_SAMPLE_S = 0.25
_GIB = 2**30


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
    """Where the device's memory goes, in bytes."""

    total_bytes: int
    used_before_bytes: int
    weight_bytes: int
    activation_bytes: int
    graph_bytes: int
    kv_cache_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class EngineStatus:
    """The engine at one moment.

    Attributes:
        num_finished: sequences that ended since loading, aborted ones included.
        tokens_in, tokens_out: prompt tokens computed and tokens generated since loading.
        tokens_in_per_s, tokens_out_per_s: over the last ten seconds.
        scheduler: requests, KV blocks, prefix cache and preemptions.
    """

    model: str
    device: str
    dtype: str
    max_model_len: int
    uptime_s: float
    num_finished: int
    tokens_in: int
    tokens_out: int
    tokens_in_per_s: float
    tokens_out_per_s: float
    scheduler: SchedulerStats
    memory: MemoryUse

    is_loaded = True

    @classmethod
    def of(
        cls,
        core: EngineCore,
        counters: EngineCounters,
        *,
        resolved: ResolvedModel,
        max_model_len: int,
        memory: MemoryUse,
    ) -> EngineStatus:
        """Take the figures together; on the engine thread, between two steps."""
        in_per_s, out_per_s = counters.tokens_per_s()
        return cls(
            model=resolved.name,
            device=resolved.device,
            dtype=resolved.dtype,
            max_model_len=max_model_len,
            uptime_s=time.perf_counter() - counters.start_s,
            num_finished=counters.num_finished,
            tokens_in=core.num_prefill_tokens,
            tokens_out=core.num_sampled_tokens,
            tokens_in_per_s=in_per_s,
            tokens_out_per_s=out_per_s,
            scheduler=core.scheduler.stats(),
            memory=memory,
        )

    def __repr__(self) -> str:
        rows = list(self._rows())
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)

    def _repr_html_(self) -> str:
        cells = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in self._rows())
        return f"<table class='pagednb-status' style='text-align:left'>{''.join(cells)}</table>"

    def _rows(self) -> Iterator[tuple[str, str]]:
        memory, scheduler = self.memory, self.scheduler
        yield "model", f"{self.model} ({self.dtype}, {self.device}, max_model_len {self.max_model_len:,})"
        yield "uptime", f"{self.uptime_s:,.0f} s"
        yield (
            "requests",
            f"{scheduler.num_running} running, {scheduler.num_waiting} waiting, {self.num_finished} finished",
        )
        yield "tokens", f"{self.tokens_in:,} in, {self.tokens_out:,} out"
        yield f"last {RATE_WINDOW_S:.0f} s", f"{self.tokens_in_per_s:,.0f} tok/s in, {self.tokens_out_per_s:,.0f} out"
        yield "KV blocks", f"{scheduler.num_used_blocks:,} of {scheduler.num_blocks:,} used"
        yield "KV waste", f"{scheduler.mean_waste:.1%} of the used slots held no token since loading"
        yield "prefix cache", f"{scheduler.prefix_hit_rate:.1%} of prompt tokens found"
        yield "preemptions", f"{scheduler.num_preemptions:,}"
        yield (
            "memory",
            f"weights {_gib(memory.weight_bytes)}, KV cache {_gib(memory.kv_cache_bytes)}, "
            f"activations {_gib(memory.activation_bytes)}, CUDA graphs {_gib(memory.graph_bytes)}, "
            f"others {_gib(memory.used_before_bytes)} of {_gib(memory.total_bytes)}",
        )


@dataclasses.dataclass(frozen=True, repr=False)
class NotLoadedStatus:
    """There is no engine."""

    is_loaded = False

    def __repr__(self) -> str:
        return "No model is loaded. pagednb.load() loads one."

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / _GIB:.2f} GiB"

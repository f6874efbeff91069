"""The engine at one moment, whole: figures, memory, every KV block and every running request.

``LLMEngine.status`` takes it on the engine thread, between two steps, when somebody asks. It is frozen: what a person
sees of it is in ``status_table``, and pictures are made of it elsewhere.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import TYPE_CHECKING

from pagednb.engine.metrics import EngineCounters, MemoryUse
from pagednb.engine.status_table import StatusTable, status_table

if TYPE_CHECKING:
    from pagednb.engine.core import EngineCore
    from pagednb.kv_cache.block_map import BlockMap
    from pagednb.models.resolve import ResolvedModel
    from pagednb.scheduler.snapshot import RequestProgress
    from pagednb.scheduler.stats import SchedulerStats
    from pagednb.sleep_state import SleepState

NOT_LOADED = "No model is loaded. pagednb.load() loads one."


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EngineStatus:
    """The engine at one moment.

    Attributes:
        time_s: when, by ``time.perf_counter``; ``cost_s``: how long taking it kept the engine from its next step.
        uptime_s: since loading.
        num_finished: sequences that ended since loading, aborted ones included.
        tokens_in, tokens_out: prompt tokens computed and tokens generated since loading.
        tokens_in_per_s, tokens_out_per_s: over the last ten seconds.
        num_steps, busy_s: steps since loading, and the time that they took.
        scheduler: counts of requests, KV blocks, prefix cache and preemptions.
        blocks: who owns which KV block.
        running: the requests that run, next to be served first; ``waiting``: the first ones of those that wait.
        asleep: how the engine sleeps; None while it is awake.
    """

    model: str
    device: str
    dtype: str
    max_model_len: int
    time_s: float
    cost_s: float
    uptime_s: float
    num_finished: int
    tokens_in: int
    tokens_out: int
    tokens_in_per_s: float
    tokens_out_per_s: float
    num_steps: int
    busy_s: float
    scheduler: SchedulerStats
    memory: MemoryUse
    blocks: BlockMap
    running: tuple[RequestProgress, ...]
    waiting: tuple[RequestProgress, ...]
    asleep: SleepState | None = None

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
        """Take everything together; on the engine thread, between two steps."""
        now_s = time.perf_counter()
        in_per_s, out_per_s = counters.tokens_per_s()
        snapshot = core.scheduler.snapshot()
        return cls(
            model=resolved.name,
            device=resolved.device,
            dtype=resolved.dtype,
            max_model_len=max_model_len,
            time_s=now_s,
            uptime_s=now_s - counters.start_s,
            num_finished=counters.num_finished,
            tokens_in=core.num_prefill_tokens,
            tokens_out=core.num_sampled_tokens,
            tokens_in_per_s=in_per_s,
            tokens_out_per_s=out_per_s,
            num_steps=core.num_steps,
            busy_s=core.busy_s,
            scheduler=snapshot.stats,
            memory=memory,
            blocks=snapshot.blocks,
            running=snapshot.running,
            waiting=snapshot.waiting,
            asleep=core.asleep,
            cost_s=time.perf_counter() - now_s,
        )

    @functools.cached_property
    def table(self) -> StatusTable:
        """What a person reads."""
        return status_table(self)

    def __repr__(self) -> str:
        return self.table.text()

    def _repr_html_(self) -> str:
        return self.table.html()

    def _repr_markdown_(self) -> str:
        return self.table.markdown()


@dataclasses.dataclass(frozen=True, repr=False)
class NotLoadedStatus:
    """There is no engine."""

    is_loaded = False

    def __repr__(self) -> str:
        return NOT_LOADED

    def _repr_html_(self) -> str:
        return f"<p>{NOT_LOADED}</p>"

    def _repr_markdown_(self) -> str:
        return NOT_LOADED

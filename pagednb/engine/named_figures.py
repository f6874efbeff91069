"""The engine's figures under vLLM's names: for ``LLM.get_metrics`` and for Prometheus."""

from __future__ import annotations

import dataclasses
from typing import Literal

from pagednb.engine.status import EngineStatus


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure: a counter only grows, a gauge is of this moment."""

    name: str
    kind: Literal["counter", "gauge"]
    description: str
    value: float


def named_figures(status: EngineStatus) -> list[Metric]:
    """Return the figures of ``status``."""
    stats = status.scheduler
    gauges: tuple[tuple[str, str, float], ...] = (
        ("num_requests_running", "Sequences that run.", stats.num_running),
        ("num_requests_waiting", "Sequences that wait.", stats.num_waiting),
        ("num_requests_swapped", "Sequences whose KV waits in host memory.", stats.num_swapped),
        ("kv_cache_usage_perc", "Share of the KV blocks in use, 0 to 1.", stats.num_used_blocks / stats.num_blocks),
        ("cpu_cache_usage_perc", "Share of the host's blocks in use, 0 to 1.", stats.host_usage),
    )
    counters: tuple[tuple[str, str, float], ...] = (
        ("prompt_tokens", "Prompt tokens computed.", status.tokens_in),
        ("generation_tokens", "Tokens generated.", status.tokens_out),
        ("num_preemptions", "Preemptions.", stats.num_preemptions),
        ("num_preemptions_by_swap", "Preemptions that moved blocks to host memory.", stats.num_swaps),
        ("num_blocks_swapped_out", "Blocks copied to host memory.", stats.num_blocks_swapped_out),
        ("num_blocks_swapped_in", "Blocks copied back.", stats.num_blocks_swapped_in),
        ("prefix_cache_queries", "Prompt tokens looked up.", stats.num_prefix_tokens_asked),
        ("prefix_cache_hits", "Prompt tokens found.", stats.num_prefix_tokens_hit),
    )
    return [
        *(Metric(name=f"vllm:{name}", kind="gauge", description=text, value=value) for name, text, value in gauges),
        *(Metric(name=f"vllm:{name}", kind="counter", description=text, value=value) for name, text, value in counters),
    ]

"""One frame of the monitor: plain JSON that holds everything a view draws, so that a new view needs no history.

Its size is bounded: ``Grid`` has a largest number of cells, and as many requests are listed as a person looks at.
What the fields mean is said here; ``widgets/static/monitor`` reads them.

- ``model``: name, dtype and device; "" when none is loaded. ``state``: "working", "idle", "asleep" or "unloaded".
- ``said``: the same in words, for those who do not see the picture.
- ``grid``: ``num_blocks``, ``block_size``, ``per_cell``, ``counts`` (owned, shared, cached, free), ``owners`` (for each
  code from 2 on [how many, request, ...]), and base64 of little-endian ``codes``, ``tokens``, ``columns``, ``mix``.
- ``requests``: those that are served first; ``num_running``, ``num_waiting``, ``num_finished``, ``num_preemptions``.
- ``history``: [tokens in/s, tokens out/s, hit rate or null, ms of a step or null], oldest first.
- ``memory``: [name, bytes] that add up to the device's memory.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pagednb.engine.status_table import sleep_text, state_of
from pagednb.monitoring.grid import Grid

if TYPE_CHECKING:
    import numpy as np

    from pagednb.engine.status import EngineStatus
    from pagednb.monitoring.rates import Sample
    from pagednb.scheduler.snapshot import RequestProgress

Frame = dict[str, Any]
MAX_REQUESTS = 24
UNLOADED: Frame = {"model": "", "state": "unloaded", "said": "No model is loaded."}


def frame_of(status: EngineStatus, history: Iterable[Sample]) -> Frame:
    """Return the frame that shows ``status`` and what led to it."""
    scheduler, memory = status.scheduler, status.memory
    grid = Grid.of(status.blocks)
    listed = [*sorted(status.running, key=lambda request: request.order), *status.waiting][:MAX_REQUESTS]
    return {
        "model": f"{status.model} · {status.dtype} · {status.device}",
        "state": _state(status),
        "said": _in_words(status, grid),
        "grid": _grid_fields(grid),
        "requests": [_request_fields(request) for request in listed],
        "num_running": scheduler.num_running,
        "num_waiting": scheduler.num_waiting,
        "num_finished": status.num_finished,
        "num_preemptions": scheduler.num_preemptions,
        "history": [_rounded(sample) for sample in history],
        "memory": [
            ["weights", memory.weight_bytes],
            ["KV cache", memory.kv_cache_bytes],
            ["steps and graphs", memory.working_bytes],
            ["others", memory.other_bytes],
            ["free", memory.free_bytes],
        ],
    }


def _state(status: EngineStatus) -> str:
    if status.asleep is not None:
        return "asleep"
    return "working" if status.scheduler.num_running or status.scheduler.num_waiting else "idle"


def _grid_fields(grid: Grid) -> Frame:
    return {
        "num_blocks": grid.num_blocks,
        "block_size": grid.block_size,
        "per_cell": grid.per_cell,
        "counts": list(grid.counts),
        "owners": [[owners.number, *owners.request_ids] for owners in grid.owners],
        "codes": _base64(grid.codes, "<u2"),
        "tokens": _base64(grid.tokens, "u1"),
        "columns": _base64(grid.columns, "<u2"),
        "mix": _base64(grid.mix, "u1"),
    }


def _request_fields(request: RequestProgress) -> Frame:
    return {
        "id": request.request_id,
        "state": state_of(request),
        "watched": request.is_interactive,
        "priority": request.priority,
        "prompt": request.num_prompt_tokens,
        "found": request.num_cached_tokens,
        "computed": request.num_computed_tokens,
        "generated": request.num_generated_tokens,
        "max_tokens": request.max_tokens,
        "blocks": request.num_blocks,
        "preempted": request.num_preemptions,
    }


def _rounded(sample: Sample) -> list[float | None]:
    return [
        round(sample.tokens_in_per_s),
        round(sample.tokens_out_per_s),
        None if sample.hit_rate is None else round(sample.hit_rate, 3),
        None if sample.step_ms is None else round(sample.step_ms, 2),
    ]


def _base64(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(values.astype(dtype).tobytes()).decode()


def _in_words(status: EngineStatus, grid: Grid) -> str:
    scheduler, counts = status.scheduler, grid.counts
    if status.asleep is not None:
        return f"The engine is {sleep_text(status.asleep)}. {status.num_finished:,} requests have ended."
    return (
        f"{scheduler.num_running:,} requests run, {scheduler.num_waiting:,} wait, {status.num_finished:,} have ended. "
        f"Of {grid.num_blocks:,} KV blocks {counts.owned:,} have one owner, {counts.shared:,} are shared, "
        f"{counts.cached:,} keep a prefix and {counts.free:,} are free. "
        f"In the last ten seconds {status.tokens_in_per_s:,.0f} prompt tokens a second were computed and "
        f"{status.tokens_out_per_s:,.0f} generated."
    )

"""``EngineStatus`` as a person reads it: a table of figures and one of requests, in text, HTML and Markdown."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pagednb.engine.metrics import RATE_WINDOW_S

if TYPE_CHECKING:
    from pagednb.engine.metrics import MemoryUse
    from pagednb.engine.status import EngineStatus
    from pagednb.scheduler.snapshot import RequestProgress
    from pagednb.scheduler.stats import SchedulerStats
    from pagednb.sleep_state import SleepState

_MAX_REQUESTS = 8
_COLUMNS = ("request", "state", "prompt", "found", "computed", "generated", "blocks", "preempted")
_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


@dataclasses.dataclass(frozen=True)
class StatusTable:
    """``figures`` are (name, value), ``requests`` have the fields ``_COLUMNS``; ``more`` says what is left out."""

    figures: Sequence[tuple[str, str]]
    requests: Sequence[Sequence[str]]
    more: str

    def text(self) -> str:
        """Return it with columns of even width."""
        width = max(len(name) for name, _ in self.figures)
        lines = [f"{name:<{width}}  {value}" for name, value in self.figures]
        if self.requests:
            lines += ["", *_aligned([_COLUMNS, *self.requests])]
        return "\n".join([*lines, *([self.more] if self.more else [])])

    def html(self) -> str:
        """Return two HTML tables without colours: the theme's are right."""
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self.figures
        )
        tables = f"<table class='pagednb-status' style='text-align:left'>{rows}</table>"
        if self.requests:
            head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
            body = "".join(
                f"<tr>{''.join(f'<td>{html.escape(field)}</td>' for field in fields)}</tr>" for fields in self.requests
            )
            tables += f"<table class='pagednb-requests'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return tables + (f"<p>{html.escape(self.more)}</p>" if self.more else "")

    def markdown(self) -> str:
        """Return it as Markdown's tables."""
        lines = ["| engine | |", "|:--|:--|", *(_markdown_row(pair) for pair in self.figures)]
        if self.requests:
            lines += ["", _markdown_row(_COLUMNS), "|:--|:--" + "|--:" * (len(_COLUMNS) - 2) + "|"]
            lines += [_markdown_row(fields) for fields in self.requests]
        return "\n".join([*lines, *(["", self.more] if self.more else [])])


def status_table(status: EngineStatus) -> StatusTable:
    """Lay out a status."""
    listed = [*sorted(status.running, key=lambda request: request.order), *status.waiting][:_MAX_REQUESTS]
    num_more = status.scheduler.num_running + status.scheduler.num_waiting - len(listed)
    return StatusTable(
        figures=list(_figures(status)),
        requests=[_request_fields(request) for request in listed],
        more=f"… and {num_more:,} more requests" if num_more > 0 else "",
    )


def bytes_text(num_bytes: int) -> str:
    """Return a size as people read it."""
    unit, size = next((pair for pair in _UNITS if num_bytes >= pair[1]), _UNITS[-1])
    return f"{num_bytes / size:.3g} {unit}" if num_bytes < 1000 * size else f"{num_bytes / size:,.0f} {unit}"


def sleep_text(asleep: SleepState) -> str:
    """Say how an engine sleeps."""
    if asleep.level == 1:
        return f"asleep, level 1: {bytes_text(asleep.host_bytes)} of weights in host memory"
    return "asleep, level 2: weights dropped, read again when it wakes up"


def state_of(request: RequestProgress) -> str:
    """Say in a word or two what a request is doing."""
    if request.num_host_blocks:
        return "swapped"
    if not request.num_blocks:
        return "preempted" if request.num_preemptions else "waiting"
    return "prefill" if request.is_prefilling else "decode"


def _figures(status: EngineStatus) -> Iterator[tuple[str, str]]:
    scheduler, memory = status.scheduler, status.memory
    yield "model", f"{status.model} ({status.dtype}, {status.device}, max_model_len {status.max_model_len:,})"
    if status.asleep is not None:
        yield "state", sleep_text(status.asleep)
    yield "uptime", f"{_duration(status.uptime_s)}, busy for {_duration(status.busy_s)}"
    yield (
        "requests",
        f"{scheduler.num_running:,} running, {scheduler.num_waiting:,} waiting, {status.num_finished:,} finished",
    )
    yield "tokens", f"{status.tokens_in:,} in, {status.tokens_out:,} out"
    yield f"last {RATE_WINDOW_S:.0f} s", f"{status.tokens_in_per_s:,.0f} tok/s in, {status.tokens_out_per_s:,.0f} out"
    if status.num_steps:
        yield "steps", f"{status.num_steps:,}, {1000 * status.busy_s / status.num_steps:.3g} ms each"
    yield "KV blocks", _blocks(status)
    yield "KV waste", f"{scheduler.mean_waste:.1%} of the used slots held no token since loading"
    yield "prefix cache", f"{scheduler.prefix_hit_rate:.1%} of prompt tokens found"
    yield "preemptions", _preemptions(scheduler)
    yield (
        "memory",
        f"weights {bytes_text(memory.weight_bytes)}{_offloaded(memory)}, "
        f"KV cache {bytes_text(memory.kv_cache_bytes)}, steps and graphs {bytes_text(memory.working_bytes)}, "
        f"others {bytes_text(memory.other_bytes)}, "
        f"free {bytes_text(memory.free_bytes)} of {bytes_text(memory.total_bytes)}",
    )


def _offloaded(memory: MemoryUse) -> str:
    return f" ({bytes_text(memory.offloaded_bytes)} more in host memory)" if memory.offloaded_bytes else ""


def _blocks(status: EngineStatus) -> str:
    from pagednb.kv_cache.block_map import BlockState

    blocks = status.blocks
    if status.asleep is not None:
        return f"none; {blocks.num_blocks:,} of {blocks.block_size} tokens when awake"
    owned, shared, cached, free = (
        blocks.count(state) for state in (BlockState.OWNED, BlockState.SHARED, BlockState.CACHED, BlockState.FREE)
    )
    return (
        f"{owned + shared:,} of {blocks.num_blocks:,} in use ({shared:,} of them shared), "
        f"{cached:,} keep a prefix, {free:,} free; {blocks.block_size} tokens each"
    )


def _preemptions(scheduler: SchedulerStats) -> str:
    if not scheduler.num_host_blocks:
        return f"{scheduler.num_preemptions:,}"
    return (
        f"{scheduler.num_preemptions:,}, {scheduler.num_swaps:,} of them by swap; "
        f"{scheduler.num_used_host_blocks:,} of {scheduler.num_host_blocks:,} host blocks in use"
    )


def _request_fields(request: RequestProgress) -> tuple[str, ...]:
    found = request.num_cached_tokens
    return (
        f"#{request.request_id}{' watched' if request.is_interactive else ''}",
        state_of(request),
        f"{request.num_prompt_tokens:,}",
        "" if found is None else f"{found:,}",
        f"{request.num_computed_tokens:,}",
        f"{request.num_generated_tokens:,} of {request.max_tokens:,}",
        f"{request.num_blocks:,}",
        f"{request.num_preemptions:,}" if request.num_preemptions else "",
    )


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Two columns of words to the left, then numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for fields in rows:
        words = (f"{field:<{width}}" for field, width in zip(fields[:2], widths[:2], strict=True))
        numbers = (f"{field:>{width}}" for field, width in zip(fields[2:], widths[2:], strict=True))
        yield "  ".join([*words, *numbers]).rstrip()


def _markdown_row(fields: Sequence[str]) -> str:
    return f"| {' | '.join(field.replace('|', chr(92) + '|') for field in fields)} |"

"""What one run of a workload measured. A figure that a workload does not have is None.

Each field carries its name and format in the table, so that table and JSON can never tell different stories.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pagednb.outputs import RequestOutput


def _figure(label: str, unit: str = "", *, decimals: int = 0) -> Any:
    return dataclasses.field(default=None, metadata={"label": label, "unit": unit, "decimals": decimals})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures of one run with one seed.

    Attributes:
        num_requests: of the batch; ``num_chat_turns``: streamed, the last of them perhaps in part.
        seconds: from the first submission to the last output; of ``chat-while-label``, the batch's.
        alone_s: the same batch without the chat.
        ttft_*, tpot_*: time to first token, and time per later token, over the requests.
        gap_*: time between two arrivals of tokens at the reader of a stream.
        batch_loss, share_kept, peak_kv_use, kv_waste, prefix_hit_rate: shares, 0 to 1.
        host_ms_per_step: what the engine thread spends outside waiting for the device; None on a CPU, where a step
            is computed by that thread.
        mean_decode_steps: how many the engine ran in one go, on average; a step with prompts counts as one.
        kv_waste: mean share of the slots in block tables that held no token.
    """

    num_requests: int | None = _figure("requests")
    seconds: float | None = _figure("time", "s", decimals=2)
    alone_s: float | None = _figure("time without the chat", "s", decimals=2)
    batch_loss: float | None = _figure("lost by the batch", "%", decimals=1)
    requests_per_s: float | None = _figure("requests", "1/s", decimals=1)
    in_tokens_per_s: float | None = _figure("prompts", "tok/s")
    out_tokens_per_s: float | None = _figure("answers", "tok/s")
    num_chat_turns: int | None = _figure("chat turns")
    chat_tokens_per_s: float | None = _figure("chat", "tok/s", decimals=1)
    chat_alone_tokens_per_s: float | None = _figure("chat undisturbed", "tok/s", decimals=1)
    share_kept: float | None = _figure("chat speed kept", "%", decimals=1)
    gap_p50_ms: float | None = _figure("between tokens, p50", "ms", decimals=2)
    gap_p99_ms: float | None = _figure("between tokens, p99", "ms", decimals=2)
    ttft_p50_ms: float | None = _figure("TTFT p50", "ms", decimals=2)
    ttft_p99_ms: float | None = _figure("TTFT p99", "ms", decimals=2)
    tpot_p50_ms: float | None = _figure("TPOT p50", "ms", decimals=2)
    tpot_p99_ms: float | None = _figure("TPOT p99", "ms", decimals=2)
    num_steps: int | None = _figure("steps")
    mean_decode_steps: float | None = _figure("decode steps in a step", decimals=2)
    host_ms_per_step: float | None = _figure("host time per step", "ms", decimals=2)
    peak_kv_use: float | None = _figure("KV blocks used, peak", "%", decimals=1)
    kv_waste: float | None = _figure("KV slots empty, mean", "%", decimals=1)
    prefix_hit_rate: float | None = _figure("prefix cache hits", "%", decimals=1)
    num_preemptions: int | None = _figure("preemptions")

    def as_dict(self) -> dict[str, float]:
        """Return the figures that there are, by name."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


class FigureRow(NamedTuple):
    """How one figure is shown."""

    name: str
    label: str
    unit: str
    decimals: int

    @property
    def heading(self) -> str:
        """What stands in the first column."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def text(self, value: float | None) -> str:
        """Return the value as a cell of the table, without its unit."""
        if value is None:
            return "-"
        return f"{value * 100 if self.unit == '%' else value:,.{self.decimals}f}"

    def text_with_unit(self, value: float | None) -> str:
        """Return the value as it stands in a sentence."""
        return f"{self.text(value)} {self.unit}".rstrip()


def figure_rows() -> Iterator[FigureRow]:
    """Yield all figures in the order of the table."""
    for field in dataclasses.fields(Figures):
        yield FigureRow(field.name, **field.metadata)


def figure_row(name: str) -> FigureRow:
    """Return the row of one figure."""
    return next(row for row in figure_rows() if row.name == name)


class Latencies(NamedTuple):
    """Milliseconds of each request; ``tpot_ms`` lacks requests of a single token."""

    ttft_ms: np.ndarray
    tpot_ms: np.ndarray


def latencies(outputs: Sequence[RequestOutput], first_token_s: Mapping[int, float]) -> Latencies:
    """Return the latencies of finished requests of one completion each, whose first tokens came at the given times."""
    ttft, tpot = [], []
    for output in outputs:
        metrics, num_tokens = output.metrics, len(output.outputs[0].token_ids)
        assert metrics is not None and metrics.finished_s is not None
        first_s = first_token_s[int(output.request_id)]
        ttft.append(1e3 * (first_s - metrics.arrival_s))
        if num_tokens > 1:
            tpot.append(1e3 * (metrics.finished_s - first_s) / (num_tokens - 1))
    return Latencies(np.array(ttft), np.array(tpot))


def percentile(values: Sequence[float] | np.ndarray, percent: float) -> float | None:
    """Return a percentile, interpolated between neighbours; None of nothing."""
    return float(np.percentile(values, percent)) if len(values) else None

"""Figures of served requests for Prometheus, under vLLM's names where it has them, so that its dashboards work.

First-token times are known of streams only: of other requests the engine reports nothing before their end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pagednb.engine.named_figures import named_figures
from pagednb.errors import PagednbError
from pagednb.outputs import RequestOutput

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LABELS = ("model_name",)
_SECONDS = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640)
_STEP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1)
_TOKENS = tuple(m * 10**e for e in range(6) for m in (1, 2, 5))


class Figures:
    """Counts on the event loop; ``text`` may be called on another thread."""

    def __init__(self, engine: LLMEngine, model_name: str) -> None:
        self._registry = registry = CollectorRegistry()
        registry.register(_EngineCollector(engine, model_name))

        def histogram(name: str, text: str, buckets: Iterable[float]) -> Histogram:
            family = Histogram(f"vllm:{name}", text, _LABELS, registry=registry, buckets=tuple(buckets))
            return family.labels(model_name)

        self._latency = histogram("e2e_request_latency_seconds", "From arrival to the last token.", _SECONDS)
        self._first = histogram("time_to_first_token_seconds", "From arrival to the first, of streams.", _SECONDS)
        self._each = histogram("request_time_per_output_token_seconds", "After the first, of streams.", _STEP_SECONDS)
        self._num_in = histogram("request_prompt_tokens", "Tokens of a prompt.", _TOKENS)
        self._num_out = histogram("request_generation_tokens", "Tokens of all answers to a prompt.", _TOKENS)
        self._ends = Counter("vllm:request_success", "Answers by how they ended.", (*_LABELS, "finished_reason"),
                             registry=registry)  # fmt: skip
        refused = Counter("pagednb:request_refused", "Requests that found the queue full.", _LABELS, registry=registry)
        self._refused = refused.labels(model_name)
        self._model_name = model_name

    def record(self, output: RequestOutput, num_prompt_tokens: int, num_generated_tokens: int) -> None:
        """Count a prompt whose answers are complete."""
        self._num_in.observe(num_prompt_tokens)
        self._num_out.observe(num_generated_tokens)
        for completion in output.outputs:
            self._ends.labels(self._model_name, completion.finish_reason).inc()
        times = output.metrics
        if times is None or times.finished_s is None:
            return
        self._latency.observe(times.finished_s - times.arrival_s)
        if times.first_token_s is None:
            return
        self._first.observe(times.first_token_s - times.arrival_s)
        num_later = num_generated_tokens // len(output.outputs) - 1
        if num_later > 0:
            self._each.observe((times.finished_s - times.first_token_s) / num_later)

    def record_refusal(self) -> None:
        """Count a request that found the queue full."""
        self._refused.inc()

    def text(self) -> bytes:
        """Return everything in Prometheus's text format; waits for the engine's next step."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    """Asks the engine at each scrape."""

    def __init__(self, engine: LLMEngine, model_name: str) -> None:
        self._engine = engine
        self._model_name = model_name

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the engine need not be asked before the first scrape."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the engine's figures of this moment, or nothing when it is gone."""
        try:
            status = self._engine.status()
        except PagednbError:
            return
        for figure in named_figures(status):
            kind = GaugeMetricFamily if figure.kind == "gauge" else CounterMetricFamily
            family = kind(figure.name, figure.description, labels=_LABELS)
            family.add_metric((self._model_name,), figure.value)
            yield family

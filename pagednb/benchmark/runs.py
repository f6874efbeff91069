"""The workloads that can be run, by name: how one is run with a seed, and which of several runs is the best."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pagednb.benchmark.batch_run import run_batch, run_single
from pagednb.benchmark.chat_run import run_busy_kernel, run_chat_while_label
from pagednb.benchmark.figures import Figures
from pagednb.benchmark.measured_engine import MeasuredEngine
from pagednb.benchmark.workloads import NAMES, make_workload


class Run(NamedTuple):
    """One workload.

    ``measure`` takes engine, seed and the number of rows to cut the workload to (None: all). Runs of different seeds
    are compared by the figure named ``judged_by``, of which less is better unless ``more_is_better``.
    """

    measure: Callable[[MeasuredEngine, int, int | None], Figures]
    judged_by: str
    more_is_better: bool = False

    def best(self, runs: Mapping[int, Figures]) -> int:
        """Return the seed whose run was the best."""
        sign = -1 if self.more_is_better else 1
        return min(runs, key=lambda seed: sign * getattr(runs[seed], self.judged_by))


def _batch(name: str, engine: MeasuredEngine, seed: int, num_rows: int | None) -> Figures:
    return run_batch(engine, make_workload(name, seed, vocab_size=engine.vocab_size)[:num_rows])


def _single(engine: MeasuredEngine, seed: int, num_rows: int | None) -> Figures:
    return run_single(engine, seed)


def _chat_while_label(engine: MeasuredEngine, seed: int, num_rows: int | None) -> Figures:
    return run_chat_while_label(engine, seed, num_rows=num_rows)


def _busy_kernel(engine: MeasuredEngine, seed: int, num_rows: int | None) -> Figures:
    return run_busy_kernel(engine, seed)


RUNS: Mapping[str, Run] = {
    "single": Run(_single, "tpot_p50_ms"),
    "chatlike": Run(functools.partial(_batch, "chatlike"), "seconds"),
    "nano": Run(functools.partial(_batch, "nano"), "seconds"),
    "label": Run(functools.partial(_batch, "label"), "seconds"),
    "chat-while-label": Run(_chat_while_label, "chat_tokens_per_s", more_is_better=True),
    "busy-kernel": Run(_busy_kernel, "share_kept", more_is_better=True),
}
assert tuple(RUNS) == NAMES

"""The result of a benchmark, as a table for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pagednb.benchmark.figures import Figures, figure_row, figure_rows
from pagednb.benchmark.runs import RUNS
from pagednb.version import VERSION

_METHOD = (
    "Temperature 1.0, ignore_eos; every run starts with an empty prefix cache and every request returned exactly its "
    "tokens.",
    "Batches go in at once, so their TTFT includes waiting for a place; single shows medians of four turns.",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkloadResult:
    """The runs of one workload, by seed, at least one."""

    name: str
    runs: Mapping[int, Figures]

    @property
    def best_seed(self) -> int:
        """The seed of the run that counts."""
        return RUNS[self.name].best(self.runs)

    @property
    def others(self) -> dict[int, float]:
        """The figure that runs are judged by, for the seeds that do not count."""
        judged_by = RUNS[self.name].judged_by
        return {seed: getattr(run, judged_by) for seed, run in self.runs.items() if seed != self.best_seed}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """Where figures were made: without these they cannot be compared with others."""

    device: str
    torch: str
    triton: str | None
    pagednb: str
    python: str

    @classmethod
    def of(cls, device: str) -> Environment:
        """Describe this machine and process; ``device`` is the engine's."""
        import torch

        is_cpu = device == "cpu"
        return cls(
            device=f"CPU, {os.cpu_count()} cores" if is_cpu else torch.cuda.get_device_name(device),
            torch=torch.__version__,
            triton=_version("triton"),
            pagednb=VERSION,
            python=platform.python_version(),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that a benchmark found.

    Attributes:
        options: the engine's options that were given.
        num_rows: requests that workloads were cut to, None for all.
        max_num_seqs, num_kv_tokens: sequences that run at once at most, and tokens that the KV cache holds.
        load_s: what loading the engine took; ``ready_s``: age of the process when the first token was there, None
            where the system does not tell.
        is_complete: False when it was interrupted or failed.
        notes: sentences about what was left out or changed.
    """

    model: str
    dtype: str
    environment: Environment
    options: Mapping[str, Any]
    seeds: Sequence[int]
    num_rows: int | None
    max_num_seqs: int
    num_kv_tokens: int
    load_s: float
    ready_s: float | None
    is_complete: bool
    notes: Sequence[str]
    workloads: Sequence[WorkloadResult]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain |= dataclasses.asdict(plain.pop("environment"))
        plain["workloads"] = {
            result.name: {
                "seed": result.best_seed,
                **result.runs[result.best_seed].as_dict(),
                "judged_by": RUNS[result.name].judged_by,
                "other_seeds": result.others,
            }
            for result in self.workloads
        }
        return plain

    def __str__(self) -> str:
        return "\n".join([*self._head(), "", *self._table()])

    def _head(self) -> Iterator[str]:
        where = self.environment
        triton = f", triton {where.triton}" if where.triton else ""
        yield f"{self.model}, {self.dtype}, on {where.device}; torch {where.torch}{triton}, pagednb {where.pagednb}"
        ready = "" if self.ready_s is None else f"; first token {self.ready_s:.2f} s after the process began"
        yield f"Loaded in {self.load_s:.2f} s{ready}."
        yield f"Room for {self.max_num_seqs:,} sequences at once and {self.num_kv_tokens:,} tokens in the KV cache."
        if self.options:
            yield "Options: " + ", ".join(f"{name}={value}" for name, value in self.options.items())
        yield from _METHOD
        yield from self.notes
        if not self.is_complete:
            yield "Not complete: this is what was done so far."

    def _table(self) -> Iterator[str]:
        best = [result.runs[result.best_seed] for result in self.workloads]
        rows = [["", *(result.name for result in self.workloads)]]
        for figure in figure_rows():
            values = [getattr(figures, figure.name) for figures in best]
            if any(value is not None for value in values):
                rows.append([figure.heading, *map(figure.text, values)])
        rows.append(["seed", *(str(result.best_seed) for result in self.workloads)])
        rows.append(["other seeds", *(_others(result) for result in self.workloads)])
        yield from _aligned(rows)


def _others(result: WorkloadResult) -> str:
    figure = figure_row(RUNS[result.name].judged_by)
    return ", ".join(map(figure.text_with_unit, result.others.values())) or "-"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for label, *cells in rows:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield "  ".join([label.ljust(widths[0]), *padded]).rstrip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

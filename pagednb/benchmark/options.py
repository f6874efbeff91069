"""What a benchmark is asked to run, checked, and what of it fits the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pagednb.benchmark.workloads import LONGEST_SEQUENCES, NAMES, VOCAB, unknown_workload
from pagednb.errors import OptionError

EMBEDDED = "embedded"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What to run.

    Attributes:
        model: a hub id, a folder, a name from ``SHAPES``, or "embedded".
        workloads: names, in order; empty for all that fit the model.
        seeds: every workload runs once with each.
        num_rows: cut workloads of many requests to their first ones; None runs all.
        engine: options of ``EngineConfig`` besides ``model``.

    Raises:
        OptionError: an unknown workload, or numbers out of range.
    """

    model: str = EMBEDDED
    workloads: Sequence[str] = ()
    seeds: Sequence[int] = (1, 2)
    num_rows: int | None = None
    engine: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.workloads:
            if name not in NAMES:
                raise unknown_workload(name)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise OptionError(f"Seeds {' '.join(map(str, self.seeds))} are not valid: give different ones, 0 or more.")
        if self.num_rows is not None and self.num_rows < 1:
            raise OptionError(f"{self.num_rows} rows are too few: give at least 1.")


class Choice(NamedTuple):
    """The workloads that will run, in order, and sentences about what differs from their full form."""

    names: Sequence[str]
    notes: Sequence[str]


def choose_workloads(options: BenchmarkOptions, *, vocab_size: int, max_model_len: int) -> Choice:
    """Return the workloads that were asked for, or all that fit the model.

    Raises:
        OptionError: one that was asked for does not fit, or none does.
    """
    names = list(dict.fromkeys(options.workloads or NAMES))
    too_long = [name for name in names if LONGEST_SEQUENCES[name] > max_model_len]
    if too_long and (options.workloads or len(too_long) == len(names)):
        raise OptionError(
            f"Workload {too_long[0]!r} needs room for {LONGEST_SEQUENCES[too_long[0]]:,} tokens of prompt and answer, "
            f"and the model is loaded for {max_model_len:,}.",
            hint="Leave it out, or raise --max-model-len if the model is made for more.",
        )
    notes = []
    if too_long:
        notes.append(f"Left out, for want of room in {max_model_len:,} tokens: {', '.join(too_long)}.")
    if vocab_size < VOCAB:
        notes.append(f"Token ids are below {vocab_size:,}, the model's vocabulary, instead of {VOCAB:,}.")
    if options.num_rows is not None:
        notes.append(f"Cut down: of each batch the first {options.num_rows:,} requests at most.")
    return Choice([name for name in names if name not in too_long], notes)

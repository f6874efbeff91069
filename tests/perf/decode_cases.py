"""Lengths of the sequences that decode together at telling moments of the benchmark workloads, for ragged kernel cases.

A continuous batch is played through: a row takes one token a step, and the next request takes the place of one that
ends. Prefill takes no time here, which makes the batch a little older than the engine's.
"""

from __future__ import annotations

import dataclasses
import heapq

from pagednb.benchmark.workloads import Workload, make_workload

MAX_NUM_SEQS = 512
MOMENTS = {"chatlike": (512, 188, 32), "nano": (256, 128, 16), "label": (512,)}
"""Rows that run at each moment: the middle one of the steps with so many rows."""
_SHARED_PREFIX = {"label": 512}


@dataclasses.dataclass(frozen=True)
class DecodeCase:
    """Sequences of one step. All begin with the same ``num_shared`` keys."""

    seq_lens: list[int]
    num_shared: int = 0

    @property
    def max_seq_len(self) -> int:
        """The bound that the host knows: contexts come in powers of two from 1024, as in the step graphs."""
        return max(1024, 1 << (max(self.seq_lens) - 1).bit_length())


def decode_cases(seed: int = 0) -> dict[str, DecodeCase]:
    """Return the cases by name."""
    cases = {f"single ctx={length}": DecodeCase([length]) for length in (128, 257, 400)}
    for name, moments in MOMENTS.items():
        workload = make_workload(name, seed)
        for num_rows in moments:
            lengths = running_lengths(workload, num_rows)
            cases[f"{name} rows={num_rows}"] = DecodeCase(lengths, _SHARED_PREFIX.get(name, 0))
    return cases


def running_lengths(workload: Workload, num_rows: int) -> list[int]:
    """Return the lengths of the sequences at the middle one of the steps in which ``num_rows`` of them run.

    Raises:
        ValueError: if so many never run together.
    """
    spans = _spans(workload)
    num_steps = max(end for _, end, _ in spans)
    counts = [0] * (num_steps + 1)
    for start, end, _ in spans:
        counts[start] += 1
        counts[end] -= 1
    steps, num_running = [], 0
    for step, change in enumerate(counts):
        num_running += change
        if num_running == num_rows:
            steps.append(step)
    if not steps:
        raise ValueError(f"The workload never runs {num_rows} rows together.")
    step = steps[len(steps) // 2]
    return [num_in + step - start + 1 for start, end, num_in in spans if start <= step < end]


def _spans(workload: Workload) -> list[tuple[int, int, int]]:
    """Return (first step, step after the last, prompt length) of every request."""
    spans: list[tuple[int, int, int]] = []
    ends: list[int] = []
    for prompt, num_out in workload:
        start = heapq.heappop(ends) if len(ends) == MAX_NUM_SEQS else 0
        heapq.heappush(ends, start + num_out)
        spans.append((start, start + num_out, len(prompt)))
    return spans

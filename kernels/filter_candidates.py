"""The few tokens of a row among which the thresholds of its filters lie, found by reading the row twice or thrice.

A first pass keeps the largest scaled logit of every run of 128. At least k runs reach the k-th largest of those, so the
top-k threshold cannot lie below it. For top-p alone a second pass sums the mass at and above sixteen levels under the
largest logit; the nucleus lies above the first level that reaches its mass. Values at or above such a bound are copied
to the row's candidates, in any order. A row with more candidates than fit (a flat distribution, ties) just counts them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from pagednb.kernels.key_search import largest_key, order_key, scaled_logits, target_mass, token_mass
from pagednb.kernels.reference_sampling import GREEDY_TEMPERATURE

RUN_WIDTH = 128
CHUNK_RUNS = 32  # runs a program takes
CAPACITY = 16384  # candidates of a row

_SEARCH_BLOCK = 1024
_LEVELS = tl.constexpr(16)
_SUMS = tl.constexpr(2 + 16)  # number of candidates, mass of the row, mass at or above each level
_LEVEL_STEP = tl.constexpr(0.75)
_MARGIN = tl.constexpr(1.0 + 1e-4)  # more than the fp32 sums at the levels can err
_GREEDY = tl.constexpr(GREEDY_TEMPERATURE)


class Candidates(NamedTuple):
    """What is known of every row; undefined for rows that are greedy or have no filter."""

    run_maxima: torch.Tensor  # fp32 [num_rows, num_runs], scaled
    max_logits: torch.Tensor  # fp32 [num_rows], scaled
    floors: torch.Tensor  # int64 [num_rows], key below which min-p drops a token or top-k cannot lie
    sums: torch.Tensor  # int64 [num_rows, 2 + 16]
    values: torch.Tensor  # fp32 [num_rows, CAPACITY], scaled; the first ``sums[:, 0]`` are set


def find_candidates(
    logits: torch.Tensor, temperature: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor, min_p: torch.Tensor
) -> Candidates:
    """Return the candidates of every row. Arguments as in sample_tokens."""
    num_rows, vocab = logits.shape
    num_runs = triton.cdiv(vocab, RUN_WIDTH)
    found = Candidates(
        run_maxima=logits.new_empty((num_rows, num_runs)),
        max_logits=logits.new_empty(num_rows),
        floors=logits.new_empty(num_rows, dtype=torch.int64),
        sums=logits.new_zeros((num_rows, _SUMS.value), dtype=torch.int64),
        values=logits.new_empty((num_rows, min(CAPACITY, vocab))),
    )
    grid = (triton.cdiv(num_runs, CHUNK_RUNS), num_rows)
    filters = (vocab, temperature, top_k, top_p, min_p)
    chunk = {"RUNS": CHUNK_RUNS, "WIDTH": RUN_WIDTH}
    _run_maxima_kernel[grid](logits, logits.stride(0), *filters, found.run_maxima, num_runs, **chunk)
    _floor_kernel[(num_rows,)](
        found.run_maxima, num_runs, *filters, found.max_logits, found.floors, BLOCK=_SEARCH_BLOCK
    )
    state = (found.max_logits, found.floors, found.sums)
    _level_masses_kernel[grid](logits, logits.stride(0), *filters, *state, CHUNK=CHUNK_RUNS * RUN_WIDTH, num_warps=8)
    runs = (found.run_maxima, num_runs, found.values, found.values.stride(0))
    _collect_kernel[grid](logits, logits.stride(0), *filters, *state, *runs, **chunk)
    return found


@triton.jit
def is_filtered(
    row: tl.tensor,
    vocab: tl.tensor,
    temperature_ptr: tl.tensor,
    top_k_ptr: tl.tensor,
    top_p_ptr: tl.tensor,
    min_p_ptr: tl.tensor,
) -> tl.tensor:
    """Return whether a row draws, and from fewer tokens than all."""
    filtered = (tl.load(top_p_ptr + row) < 1.0) | (tl.load(min_p_ptr + row) > 0.0)
    filtered = filtered | limits_count(tl.load(top_k_ptr + row), vocab)
    return filtered & (tl.load(temperature_ptr + row) >= _GREEDY)


@triton.jit
def limits_count(top_k: tl.tensor, vocab: tl.tensor) -> tl.tensor:
    """Return whether a row's top-k drops anything."""
    return (top_k > 0) & (top_k < vocab)


@triton.jit
def level_key(sums_row: tl.tensor, max_logit: tl.tensor, top_p: tl.tensor) -> tl.tensor:
    """Return the key of the first level that surely holds the nucleus, 0 if none does."""
    levels = tl.arange(0, _LEVELS)
    target = target_mass(tl.load(sums_row + 1), top_p).to(tl.float64) * _MARGIN
    masses = tl.load(sums_row + 2 + levels)
    level = tl.min(tl.where(masses.to(tl.float64) >= target, levels, _LEVELS), axis=0)
    return tl.where(level < _LEVELS, order_key(_level_logit(max_logit, level)), 0)


@triton.jit
def _level_logit(max_logit: tl.tensor, level: tl.tensor) -> tl.tensor:
    return max_logit - (level + 1) * _LEVEL_STEP


@triton.jit
def _run_maxima_kernel(
    logits_ptr: tl.tensor,
    logits_stride: tl.tensor,
    vocab: tl.tensor,
    temperature_ptr: tl.tensor,
    top_k_ptr: tl.tensor,
    top_p_ptr: tl.tensor,
    min_p_ptr: tl.tensor,
    run_maxima_ptr: tl.tensor,
    num_runs: tl.tensor,
    RUNS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """Find the largest scaled logit of each run."""
    row = tl.program_id(1).to(tl.int64)
    if not is_filtered(row, vocab, temperature_ptr, top_k_ptr, top_p_ptr, min_p_ptr):
        return
    temperature = tl.load(temperature_ptr + row)
    runs = tl.program_id(0) * RUNS + tl.arange(0, RUNS)
    cols = runs[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    logits = tl.load(logits_ptr + row * logits_stride + cols, mask=cols < vocab, other=float("-inf"))
    maxima = tl.max(scaled_logits(logits, temperature), axis=1)
    tl.store(run_maxima_ptr + row * num_runs + runs, maxima, mask=runs < num_runs)


@triton.jit
def _floor_kernel(
    run_maxima_ptr: tl.tensor,
    num_runs: tl.tensor,
    vocab: tl.tensor,
    temperature_ptr: tl.tensor,
    top_k_ptr: tl.tensor,
    top_p_ptr: tl.tensor,
    min_p_ptr: tl.tensor,
    max_logits_ptr: tl.tensor,
    floors_ptr: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Find a row's largest logit, its min-p threshold, and a lower bound of its top-k threshold."""
    row = tl.program_id(0).to(tl.int64)
    if not is_filtered(row, vocab, temperature_ptr, top_k_ptr, top_p_ptr, min_p_ptr):
        return
    maxima_row = run_maxima_ptr + row * num_runs
    maxima = tl.full([BLOCK], float("-inf"), dtype=tl.float32)
    for start in tl.range(0, num_runs, BLOCK):
        runs = start + tl.arange(0, BLOCK)
        maxima = tl.maximum(maxima, tl.load(maxima_row + runs, mask=runs < num_runs, other=float("-inf")))
    max_logit = tl.max(maxima, axis=0)

    floor_key = tl.zeros([], dtype=tl.uint32)
    min_p = tl.load(min_p_ptr + row)
    if min_p > 0.0:
        floor_key = order_key(max_logit + tl.log(min_p))
    top_k = tl.load(top_k_ptr + row)
    if limits_count(top_k, vocab):
        # the maxima are scaled already, so their temperature is 1
        kth = largest_key(maxima_row, 1.0, num_runs, top_k, 0, 0.0, BY_MASS=False, BLOCK=BLOCK)
        floor_key = tl.maximum(floor_key, kth)
    tl.store(max_logits_ptr + row, max_logit)
    tl.store(floors_ptr + row, floor_key.to(tl.int64))


@triton.jit
def _level_masses_kernel(
    logits_ptr: tl.tensor,
    logits_stride: tl.tensor,
    vocab: tl.tensor,
    temperature_ptr: tl.tensor,
    top_k_ptr: tl.tensor,
    top_p_ptr: tl.tensor,
    min_p_ptr: tl.tensor,
    max_logits_ptr: tl.tensor,
    floors_ptr: tl.tensor,
    sums_ptr: tl.tensor,
    CHUNK: tl.constexpr,
) -> None:
    """Sum the mass that min-p leaves: all of it exactly, and that at or above each level. For top-p without top-k."""
    row = tl.program_id(1).to(tl.int64)
    temperature = tl.load(temperature_ptr + row)
    active = (tl.load(top_p_ptr + row) < 1.0) & (limits_count(tl.load(top_k_ptr + row), vocab) == 0)
    if (temperature < _GREEDY) | (active == 0):
        return
    max_logit = tl.load(max_logits_ptr + row)
    floor_key = tl.load(floors_ptr + row).to(tl.uint32)
    cols = tl.program_id(0) * CHUNK + tl.arange(0, CHUNK)
    logits = tl.load(logits_ptr + row * logits_stride + cols, mask=cols < vocab, other=float("-inf"))
    scaled = scaled_logits(logits, temperature)
    mass = tl.where(order_key(scaled) >= floor_key, token_mass(scaled, max_logit), 0)

    # relaxed: only later launches read the sums
    sums_row = sums_ptr + row * _SUMS
    tl.atomic_add(sums_row + 1, tl.sum(mass, axis=0), sem="relaxed")
    mass = mass.to(tl.float32)
    for level in tl.static_range(_LEVELS):
        at_or_above = tl.where(scaled >= _level_logit(max_logit, level), mass, 0.0)
        tl.atomic_add(sums_row + 2 + level, tl.sum(at_or_above, axis=0).to(tl.int64), sem="relaxed")


@triton.jit
def _collect_kernel(
    logits_ptr: tl.tensor,
    logits_stride: tl.tensor,
    vocab: tl.tensor,
    temperature_ptr: tl.tensor,
    top_k_ptr: tl.tensor,
    top_p_ptr: tl.tensor,
    min_p_ptr: tl.tensor,
    max_logits_ptr: tl.tensor,
    floors_ptr: tl.tensor,
    sums_ptr: tl.tensor,
    run_maxima_ptr: tl.tensor,
    num_runs: tl.tensor,
    values_ptr: tl.tensor,
    capacity: tl.tensor,
    RUNS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """Copy what reaches the row's bound to its candidates; read only the runs whose largest does."""
    row = tl.program_id(1).to(tl.int64)
    temperature = tl.load(temperature_ptr + row)
    top_p = tl.load(top_p_ptr + row)
    counts = limits_count(tl.load(top_k_ptr + row), vocab)
    if (temperature < _GREEDY) | ((counts | (top_p < 1.0)) == 0):
        return
    sums_row = sums_ptr + row * _SUMS
    bound = tl.load(floors_ptr + row).to(tl.uint32)
    if counts == 0:
        bound = tl.maximum(bound, level_key(sums_row, tl.load(max_logits_ptr + row), top_p))
    runs = tl.program_id(0) * RUNS + tl.arange(0, RUNS)
    maxima = tl.load(run_maxima_ptr + row * num_runs + runs, mask=runs < num_runs, other=float("-inf"))
    reached = (order_key(maxima) >= bound) & (runs < num_runs)
    if tl.max(reached.to(tl.int32), axis=0) == 0:
        return

    cols = runs[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    inside = reached[:, None] & (cols < vocab)
    logits = tl.load(logits_ptr + row * logits_stride + cols, mask=inside, other=float("-inf"))
    scaled = scaled_logits(logits, temperature)
    kept = (inside & (order_key(scaled) >= bound)).to(tl.int32)
    num_kept = tl.sum(kept, axis=1)  # of each run
    first = tl.atomic_add(sums_row, tl.sum(num_kept, axis=0).to(tl.int64), sem="relaxed")
    slots = first + (tl.cumsum(num_kept, axis=0) - num_kept)[:, None] + tl.cumsum(kept, axis=1) - kept
    tl.store(values_ptr + row * capacity + slots, scaled, mask=(kept > 0) & (slots < capacity))

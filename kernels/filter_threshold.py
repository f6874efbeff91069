"""The filters of sampling as one threshold a row, found without a sort and without the host.

Logits map to 32-bit keys of the same order. A filter's threshold is the largest key at which the weight of all tokens
at or above it (their count for top-k, their probability mass for top-p) reaches a target. It is searched among the
row's candidates; where those overflowed, by the same program in the whole row, which costs time but no host.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from pagednb.kernels.filter_candidates import find_candidates, is_filtered, level_key, limits_count
from pagednb.kernels.key_search import MAX_VALUES, largest_key, mass_at_or_above, target_mass

# most nuclei fit the small block, whose passes are cheaper; both leave registers for several programs
_SMALL_BLOCK = 512
_LARGE_BLOCK = 2048


class Thresholds(NamedTuple):
    """The smallest key that survives a row's filters, 0 without any; and where in the row nothing can."""

    keys: torch.Tensor  # int64 [num_rows]
    run_maxima: torch.Tensor  # fp32 [num_rows, num_runs], scaled; undefined where the key is 0


def find_thresholds(
    logits: torch.Tensor, temperature: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor, min_p: torch.Tensor
) -> Thresholds:
    """Return the thresholds of every row. Arguments as in sample_tokens."""
    num_rows, vocab = logits.shape
    assert vocab <= MAX_VALUES, f"the masses of {vocab} tokens do not fit an int64 (at most {MAX_VALUES})"
    found = find_candidates(logits, temperature, top_k, top_p, min_p)
    keys = torch.empty(num_rows, dtype=torch.int64, device=logits.device)
    _threshold_kernel[(num_rows,)](
        logits,
        logits.stride(0),
        vocab,
        temperature,
        top_k,
        top_p,
        min_p,
        found.max_logits,
        found.floors,
        found.sums,
        found.sums.stride(0),
        found.values,
        found.values.stride(0),
        keys,
        SMALL_BLOCK=_SMALL_BLOCK,
        LARGE_BLOCK=_LARGE_BLOCK,
        num_warps=8,
    )
    return Thresholds(keys, found.run_maxima)


@triton.jit
def _threshold_kernel(
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
    sums_stride: tl.tensor,
    values_ptr: tl.tensor,
    capacity: tl.tensor,
    keys_ptr: tl.tensor,
    SMALL_BLOCK: tl.constexpr,
    LARGE_BLOCK: tl.constexpr,
) -> None:
    """Find the exact threshold of a row: that of min-p, then of top-k, then of top-p on what they leave."""
    row = tl.program_id(0).to(tl.int64)
    if not is_filtered(row, vocab, temperature_ptr, top_k_ptr, top_p_ptr, min_p_ptr):
        tl.store(keys_ptr + row, 0)
        return

    sums_row = sums_ptr + row * sums_stride
    num_values = tl.load(sums_row).to(tl.int32)
    overflowed = num_values > capacity
    num_values = tl.where(overflowed, vocab, num_values)
    divisor = tl.where(overflowed, tl.load(temperature_ptr + row), 1.0)  # candidates are scaled already
    source = values_ptr + row * capacity
    if overflowed:
        source = logits_ptr + row * logits_stride

    floor_key = tl.load(floors_ptr + row).to(tl.uint32)
    max_logit = tl.load(max_logits_ptr + row)
    top_k = tl.load(top_k_ptr + row)
    top_p = tl.load(top_p_ptr + row)
    threshold = floor_key
    if num_values <= SMALL_BLOCK:
        threshold = _search(
            source, divisor, num_values, vocab, top_k, top_p, floor_key, max_logit, sums_row, BLOCK=SMALL_BLOCK
        )
    else:
        threshold = _search(
            source, divisor, num_values, vocab, top_k, top_p, floor_key, max_logit, sums_row, BLOCK=LARGE_BLOCK
        )
    tl.store(keys_ptr + row, threshold.to(tl.int64))


@triton.jit
def _search(
    source: tl.tensor,
    divisor: tl.tensor,
    num_values: tl.tensor,
    vocab: tl.tensor,
    top_k: tl.tensor,
    top_p: tl.tensor,
    floor_key: tl.tensor,
    max_logit: tl.tensor,
    sums_row: tl.tensor,
    BLOCK: tl.constexpr,
) -> tl.tensor:
    """Return the row's threshold, searched in the values at ``source``."""
    threshold = floor_key
    counts = limits_count(top_k, vocab)
    if counts:
        kth = largest_key(source, divisor, num_values, top_k, 0, 0.0, BY_MASS=False, BLOCK=BLOCK)
        threshold = tl.maximum(threshold, kth)
    if top_p < 1.0:
        total = tl.load(sums_row + 1)
        bound = threshold
        if counts:
            total = mass_at_or_above(source, divisor, num_values, threshold, max_logit, BLOCK=BLOCK)
        else:
            bound = tl.maximum(bound, level_key(sums_row, max_logit, top_p))
        target = target_mass(total, top_p)
        nucleus = largest_key(source, divisor, num_values, target, threshold, max_logit, BY_MASS=True, BLOCK=BLOCK)
        threshold = tl.maximum(bound, nucleus)
    return threshold

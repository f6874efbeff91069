"""The filters of sampling as one threshold a row, found without a sort and without the host.

Logits map to 32-bit keys of the same order. A filter's threshold is the largest key at which the weight of all tokens
at or above it (their count for top-k, their probability mass for top-p) reaches a target. It is found four bits a
pass: each pass histograms the next digit of the tokens that share the digits found so far. Weights add up as integers
(mass in units of 2^-32 of the most probable token), so the order of the atomics does not matter and a row gives the
same threshold in every batch.

State of a row: int64 ``[1 + 2 * 8 * 18]``: the largest key, then for every pass of top-k and of top-p the prefix found
before it, the weight above that prefix, and its 16 histogram bins.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.reference_sampling import GREEDY_TEMPERATURE

_CHUNK = 4096  # logits a program takes
_TILE = 512  # of which it histograms so many at once, held as [tile, bins] in registers

_BINS = tl.constexpr(16)
_PASSES = tl.constexpr(8)
_PASS_WIDTH = tl.constexpr(2 + 16)
_ROW_WIDTH = tl.constexpr(1 + 2 * 8 * (2 + 16))
_GREEDY = tl.constexpr(GREEDY_TEMPERATURE)


def search_thresholds(
    logits: torch.Tensor, temperature: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor, min_p: torch.Tensor
) -> torch.Tensor:
    """Return the search state of every row, from which ``threshold_key`` reads its threshold.

    Rows that are greedy, or lack a filter, take no part in its passes. Arguments as in sample_tokens.
    """
    num_rows, vocab = logits.shape
    state = torch.zeros((num_rows, _ROW_WIDTH.value), dtype=torch.int64, device=logits.device)
    grid = (triton.cdiv(vocab, _CHUNK), num_rows)
    rows = (logits, logits.stride(0), vocab, temperature, top_k, top_p, min_p, state)
    _max_key_kernel[grid](*rows, CHUNK=_CHUNK)
    for by_mass in (False, True):
        for index in range(_PASSES.value):
            _histogram_kernel[grid](*rows, index, BY_MASS=by_mass, CHUNK=_CHUNK, TILE=_TILE)
    return state


@triton.jit
def threshold_key(
    state_ptr: tl.tensor, row: tl.tensor, vocab: tl.tensor, top_k: tl.tensor, top_p: tl.tensor, min_p: tl.tensor
) -> tl.tensor:
    """Return the smallest key that survives all filters of a row."""
    state_row = state_ptr + row * _ROW_WIDTH
    threshold = _floor_key(state_row, vocab, top_k, min_p)
    if top_p < 1.0:
        last_pass = state_row + 1 + (2 * _PASSES - 1) * _PASS_WIDTH
        prefix, _ = _narrowed(last_pass, _mass_target(state_row, top_p))
        threshold = tl.maximum(threshold, prefix.to(tl.uint32))
    return threshold


@triton.jit
def scaled_logits(logits: tl.tensor, temperature: tl.tensor) -> tl.tensor:
    """Return logits / temperature, rounded exactly as the reference rounds it."""
    return logits * tl.div_rn(1.0, temperature)


@triton.jit
def order_key(x: tl.tensor) -> tl.tensor:
    """Map fp32 to uint32 of the same order (both zeros to one key)."""
    bits = (x + 0.0).to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) | -2147483648)).to(tl.uint32, bitcast=True)


@triton.jit
def _max_key_kernel(
    logits_ptr: tl.tensor,
    logits_stride: tl.tensor,
    vocab: tl.tensor,
    temperature_ptr: tl.tensor,
    top_k_ptr: tl.tensor,
    top_p_ptr: tl.tensor,
    min_p_ptr: tl.tensor,
    state_ptr: tl.tensor,
    CHUNK: tl.constexpr,
) -> None:
    """Find the row's largest key."""
    row = tl.program_id(1).to(tl.int64)
    temperature = tl.load(temperature_ptr + row)
    filtered = (tl.load(top_p_ptr + row) < 1.0) | (tl.load(min_p_ptr + row) > 0.0)
    if (temperature < _GREEDY) | (filtered == 0):
        return
    cols = tl.program_id(0) * CHUNK + tl.arange(0, CHUNK)
    logits = tl.load(logits_ptr + row * logits_stride + cols, mask=cols < vocab, other=float("-inf"))
    keys = order_key(scaled_logits(logits, temperature))
    tl.atomic_max(state_ptr + row * _ROW_WIDTH, tl.max(keys.to(tl.int64), axis=0))


@triton.jit(do_not_specialize=["index"])
def _histogram_kernel(
    logits_ptr: tl.tensor,
    logits_stride: tl.tensor,
    vocab: tl.tensor,
    temperature_ptr: tl.tensor,
    top_k_ptr: tl.tensor,
    top_p_ptr: tl.tensor,
    min_p_ptr: tl.tensor,
    state_ptr: tl.tensor,
    index: tl.tensor,
    BY_MASS: tl.constexpr,
    CHUNK: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    """One pass of a radix search: narrow the bracket by the previous pass, histogram the next digit within it."""
    row = tl.program_id(1).to(tl.int64)
    temperature = tl.load(temperature_ptr + row)
    top_k = tl.load(top_k_ptr + row)
    top_p = tl.load(top_p_ptr + row)
    active = (top_p < 1.0) if BY_MASS else (top_k > 0) & (top_k < vocab)
    if (temperature < _GREEDY) | (active == 0):
        return

    state_row = state_ptr + row * _ROW_WIDTH
    max_logit = 0.0
    floor_key = 0
    target = top_k.to(tl.int64)
    passes_ptr = state_row + 1
    if BY_MASS:
        max_logit = _logit_of_key(tl.load(state_row).to(tl.uint32))
        floor_key = _floor_key(state_row, vocab, top_k, tl.load(min_p_ptr + row))
        target = _mass_target(state_row, top_p)
        passes_ptr = state_row + 1 + _PASSES * _PASS_WIDTH
    prefix = tl.zeros([], dtype=tl.int64)
    above = tl.zeros([], dtype=tl.int64)
    if index > 0:
        prefix, above = _narrowed(passes_ptr + (index - 1) * _PASS_WIDTH, target)

    shift = (28 - 4 * index).to(tl.uint32)
    bins = tl.arange(0, _BINS)
    weights = tl.zeros([TILE, _BINS], dtype=tl.float32)
    start = tl.program_id(0) * CHUNK
    for tile_start in tl.range(start, tl.minimum(start + CHUNK, vocab), TILE):
        cols = tile_start + tl.arange(0, TILE)
        inside = cols < vocab
        logits = tl.load(logits_ptr + row * logits_stride + cols, mask=inside, other=float("-inf"))
        scaled = scaled_logits(logits, temperature)
        keys = order_key(scaled)
        shifted = keys >> shift
        bracketed = inside & ((shifted >> 4) == prefix.to(tl.uint32))
        if BY_MASS:
            weight = tl.where(bracketed & (keys >= floor_key), tl.exp(scaled - max_logit), 0.0)
        else:
            weight = tl.where(bracketed, 1.0, 0.0)
        digits = (shifted & 15).to(tl.int32)
        weights += tl.where(digits[:, None] == bins[None, :], weight[:, None], 0.0)
    sums = tl.sum(weights, axis=0)
    amounts = (sums.to(tl.float64) * (4294967296.0 if BY_MASS else 1.0)).to(tl.int64)

    pass_ptr = passes_ptr + index * _PASS_WIDTH
    tl.atomic_add(pass_ptr + 2 + bins, amounts, mask=amounts > 0)
    if tl.program_id(0) == 0:
        tl.store(pass_ptr, prefix)
        tl.store(pass_ptr + 1, above)


@triton.jit
def _narrowed(pass_ptr: tl.tensor, target: tl.tensor) -> tuple[tl.tensor, ...]:
    """Return (prefix, weight above it) after a pass: the largest digit at which the weight reaches the target."""
    bins = tl.arange(0, _BINS)
    prefix = tl.load(pass_ptr)
    above = tl.load(pass_ptr + 1)
    histogram = tl.load(pass_ptr + 2 + bins)
    at_or_above = tl.sum(tl.where(bins[None, :] >= bins[:, None], histogram[None, :], 0), axis=1)
    digit = tl.max(tl.where(above + at_or_above >= target, bins, 0), axis=0)
    return prefix * _BINS + digit, above + tl.sum(tl.where(bins > digit, histogram, 0), axis=0)


@triton.jit
def _floor_key(state_row: tl.tensor, vocab: tl.tensor, top_k: tl.tensor, min_p: tl.tensor) -> tl.tensor:
    """Return the key below which min-p and top-k drop a token."""
    floor_key = tl.zeros([], dtype=tl.uint32)
    if min_p > 0.0:
        max_logit = _logit_of_key(tl.load(state_row).to(tl.uint32))
        floor_key = order_key(max_logit + tl.log(min_p))
    if (top_k > 0) & (top_k < vocab):
        prefix, _ = _narrowed(state_row + 1 + (_PASSES - 1) * _PASS_WIDTH, top_k.to(tl.int64))
        floor_key = tl.maximum(floor_key, prefix.to(tl.uint32))
    return floor_key


@triton.jit
def _mass_target(state_row: tl.tensor, top_p: tl.tensor) -> tl.tensor:
    """Return the mass that the nucleus must reach, from the first mass pass (0 before that pass has run)."""
    first_pass = state_row + 1 + _PASSES * _PASS_WIDTH
    total = tl.sum(tl.load(first_pass + 2 + tl.arange(0, _BINS)), axis=0)
    return tl.ceil(total.to(tl.float64) * top_p.to(tl.float64)).to(tl.int64)


@triton.jit
def _logit_of_key(key: tl.tensor) -> tl.tensor:
    """Invert order_key."""
    bits = key.to(tl.int32, bitcast=True)
    return (bits ^ (~(bits >> 31) | -2147483648)).to(tl.float32, bitcast=True)

"""Sampling without a sort and without the host: thresholds by radix search, then Gumbel-max with counter-based noise.

Logits map to 32-bit keys of the same order. A filter's threshold is the largest key at which the weight of all tokens
at or above it (their count for top-k, their probability mass for top-p) reaches a target. It is found four bits a
pass: each pass histograms the next digit of the tokens that share the digits found so far. Weights add up as integers
(mass in units of 2^-32 of the most probable token), so the order of the atomics does not matter and a row gives the
same token in every batch.

State of a row: int64 ``[1 + 2 * 8 * 18]``: the largest key, then for every pass of top-k and of top-p the prefix found
before it, the weight above that prefix, and its 16 histogram bins.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.launch import check_rows
from pagednb.kernels.reference_sampling import GREEDY_TEMPERATURE, PHILOX_LANE_WIDTH

_CHUNK = 4 * PHILOX_LANE_WIDTH  # logits a program takes: what one block of counters serves

_BINS = tl.constexpr(16)
_PASSES = tl.constexpr(8)
_PASS_WIDTH = tl.constexpr(2 + 16)
_ROW_WIDTH = tl.constexpr(1 + 2 * 8 * (2 + 16))
_LANE = tl.constexpr(PHILOX_LANE_WIDTH)
_GREEDY = tl.constexpr(GREEDY_TEMPERATURE)


def sample_tokens(
    logits: torch.Tensor,
    temperature: torch.Tensor,
    top_k: torch.Tensor,
    top_p: torch.Tensor,
    min_p: torch.Tensor,
    seeds: torch.Tensor,
    positions: torch.Tensor,
    *,
    has_filters: bool,
) -> torch.Tensor:
    """Draw one token a row: int64 ``[num_rows]``. See reference_sampling.sample_tokens."""
    num_rows, vocab = logits.shape
    check_rows(logits, vocab, like=logits)
    assert logits.dtype == torch.float32, f"logits must be float32, got {logits.dtype}"
    num_chunks = triton.cdiv(vocab, _CHUNK)
    best_logits = torch.empty((num_rows, num_chunks), dtype=torch.float32, device=logits.device)
    best_tokens = torch.empty((num_rows, num_chunks), dtype=torch.int32, device=logits.device)
    tokens = torch.empty(num_rows, dtype=torch.int64, device=logits.device)
    if num_rows == 0:
        return tokens

    grid = (num_chunks, num_rows)
    rows = (logits, logits.stride(0), vocab, temperature, top_k, top_p, min_p)
    state = None
    if has_filters:
        state = torch.zeros((num_rows, _ROW_WIDTH.value), dtype=torch.int64, device=logits.device)
        _max_key_kernel[grid](*rows, state, CHUNK=_CHUNK)
        for by_mass in (False, True):
            for index in range(_PASSES.value):
                _histogram_kernel[grid](*rows, state, index, BY_MASS=by_mass, CHUNK=_CHUNK, TILE=512)
    _best_of_chunk_kernel[grid](*rows, state, seeds, positions, best_logits, best_tokens)
    _best_of_row_kernel[(num_rows,)](
        best_logits, best_tokens, tokens, num_chunks, vocab, CHUNKS_BLOCK=triton.next_power_of_2(num_chunks)
    )
    return tokens


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
    keys = _order_key(_scaled(logits, temperature))
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
    prefix = 0
    above = 0
    prefix = prefix.to(tl.int64)
    above = above.to(tl.int64)
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
        scaled = _scaled(logits, temperature)
        keys = _order_key(scaled)
        shifted = keys >> shift
        bracketed = inside & ((shifted >> 4) == prefix.to(tl.uint32))
        if BY_MASS:
            weight = tl.where(bracketed & (keys >= floor_key), tl.exp(scaled - max_logit), 0.0)
        else:
            weight = tl.where(bracketed, 1.0, 0.0)
        digits = (shifted & 15).to(tl.int32)
        weights += tl.where(digits[:, None] == bins[None, :], weight[:, None], 0.0)
    sums = tl.sum(weights, axis=0)
    if BY_MASS:
        counts = (sums.to(tl.float64) * 4294967296.0).to(tl.int64)
    else:
        counts = sums.to(tl.int64)

    pass_ptr = passes_ptr + index * _PASS_WIDTH
    tl.atomic_add(pass_ptr + 2 + bins, counts, mask=counts > 0)
    if tl.program_id(0) == 0:
        tl.store(pass_ptr, prefix)
        tl.store(pass_ptr + 1, above)


@triton.jit
def _best_of_chunk_kernel(
    logits_ptr: tl.tensor,
    logits_stride: tl.tensor,
    vocab: tl.tensor,
    temperature_ptr: tl.tensor,
    top_k_ptr: tl.tensor,
    top_p_ptr: tl.tensor,
    min_p_ptr: tl.tensor,
    state_ptr: tl.tensor,
    seeds_ptr: tl.tensor,
    positions_ptr: tl.tensor,
    best_logits_ptr: tl.tensor,
    best_tokens_ptr: tl.tensor,
) -> None:
    """Find the best surviving token of a chunk, with noise unless the row is greedy."""
    row = tl.program_id(1).to(tl.int64)
    chunk = tl.program_id(0)
    temperature = tl.load(temperature_ptr + row)
    threshold = tl.zeros([], dtype=tl.uint32)
    if state_ptr is not None:
        if temperature >= _GREEDY:
            threshold = _threshold_key(
                state_ptr + row * _ROW_WIDTH,
                vocab,
                tl.load(top_k_ptr + row),
                tl.load(top_p_ptr + row),
                tl.load(min_p_ptr + row),
            )

    counter = chunk * _LANE + tl.arange(0, _LANE)
    position = tl.load(positions_ptr + row)
    word0, word1, word2, word3 = tl.philox(
        tl.load(seeds_ptr + row), counter, (position & 0xFFFFFFFF).to(tl.uint32), (position >> 32).to(tl.uint32), 0
    )
    logits_row = logits_ptr + row * logits_stride
    cols = chunk * (4 * _LANE) + tl.arange(0, _LANE)
    best, best_cols = _noisy(logits_row, cols, word0, temperature, threshold, vocab), cols
    best, best_cols = _better(best, best_cols, logits_row, cols + _LANE, word1, temperature, threshold, vocab)
    best, best_cols = _better(best, best_cols, logits_row, cols + 2 * _LANE, word2, temperature, threshold, vocab)
    best, best_cols = _better(best, best_cols, logits_row, cols + 3 * _LANE, word3, temperature, threshold, vocab)

    best_of_chunk = tl.max(best, axis=0)
    partial = row * tl.num_programs(0) + chunk
    tl.store(best_logits_ptr + partial, best_of_chunk)
    tl.store(best_tokens_ptr + partial, tl.min(tl.where(best == best_of_chunk, best_cols, vocab), axis=0))


@triton.jit
def _best_of_row_kernel(
    best_logits_ptr: tl.tensor,
    best_tokens_ptr: tl.tensor,
    tokens_ptr: tl.tensor,
    num_chunks: tl.tensor,
    vocab: tl.tensor,
    CHUNKS_BLOCK: tl.constexpr,
) -> None:
    """Take the best of a row's chunks; the first of ties, and a valid token even if every logit is NaN."""
    row = tl.program_id(0).to(tl.int64)
    chunks = tl.arange(0, CHUNKS_BLOCK)
    inside = chunks < num_chunks
    best = tl.load(best_logits_ptr + row * num_chunks + chunks, mask=inside, other=float("-inf"))
    tokens = tl.load(best_tokens_ptr + row * num_chunks + chunks, mask=inside, other=vocab)
    token = tl.min(tl.where(best == tl.max(best, axis=0), tokens, vocab), axis=0)
    tl.store(tokens_ptr + row, tl.minimum(token, vocab - 1).to(tl.int64))


@triton.jit
def _better(
    best: tl.tensor,
    best_cols: tl.tensor,
    logits_row: tl.tensor,
    cols: tl.tensor,
    word: tl.tensor,
    temperature: tl.tensor,
    threshold: tl.tensor,
    vocab: tl.tensor,
) -> tuple[tl.tensor, ...]:
    """Keep, element by element, the better of what was best and the next run of columns; the earlier on a tie."""
    noisy = _noisy(logits_row, cols, word, temperature, threshold, vocab)
    return tl.maximum(best, noisy), tl.where(noisy > best, cols, best_cols)


@triton.jit
def _noisy(
    logits_row: tl.tensor,
    cols: tl.tensor,
    word: tl.tensor,
    temperature: tl.tensor,
    threshold: tl.tensor,
    vocab: tl.tensor,
) -> tl.tensor:
    """Return logits plus Gumbel noise, -inf below the threshold; the bare logits of a greedy row."""
    logits = tl.load(logits_row + cols, mask=cols < vocab, other=float("-inf"))
    scaled = _scaled(logits, tl.where(temperature < _GREEDY, 1.0, temperature))
    noisy = tl.where(_order_key(scaled) >= threshold, scaled + _gumbel(word), float("-inf"))
    return tl.where(temperature < _GREEDY, logits, noisy)


@triton.jit
def _gumbel(word: tl.tensor) -> tl.tensor:
    """Return ``-log(-log1p(-u))`` of u in (0, 1): fine-grained near 0, where the largest noise comes from."""
    u = tl.minimum(word.to(tl.float32) * 2.3283064365386963e-10 + 1.1641532182693481e-10, 0.9999999403953552)
    series = u * (1.0 + u * (0.5 + u * (0.3333333333333333 + u * 0.25)))
    return -tl.log(tl.where(u < 0.01, series, -tl.log(1.0 - u)))


@triton.jit
def _scaled(logits: tl.tensor, temperature: tl.tensor) -> tl.tensor:
    return logits * tl.div_rn(1.0, temperature)


@triton.jit
def _order_key(x: tl.tensor) -> tl.tensor:
    """Map fp32 to uint32 of the same order (both zeros to one key)."""
    bits = (x + 0.0).to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) | -2147483648)).to(tl.uint32, bitcast=True)


@triton.jit
def _logit_of_key(key: tl.tensor) -> tl.tensor:
    """Invert _order_key."""
    bits = key.to(tl.int32, bitcast=True)
    return (bits ^ (~(bits >> 31) | -2147483648)).to(tl.float32, bitcast=True)


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
        floor_key = _order_key(max_logit + tl.log(min_p))
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
def _threshold_key(
    state_row: tl.tensor, vocab: tl.tensor, top_k: tl.tensor, top_p: tl.tensor, min_p: tl.tensor
) -> tl.tensor:
    """Return the smallest key that survives all filters of the row."""
    threshold = _floor_key(state_row, vocab, top_k, min_p)
    if top_p < 1.0:
        last_pass = state_row + 1 + (2 * _PASSES - 1) * _PASS_WIDTH
        prefix, _ = _narrowed(last_pass, _mass_target(state_row, top_p))
        threshold = tl.maximum(threshold, prefix.to(tl.uint32))
    return threshold

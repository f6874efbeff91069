"""Gumbel-max sampling with counter-based noise: one pass over the logits, after the filters' thresholds are known.

The pass sums the mass of every chunk of the vocabulary; then a row draws a chunk, and a token of that chunk alone, so
that nearly all tokens need an exponential each and no random number. No sort and no host: a fixed sequence of launches
that a graph can capture. A row's noise depends on its seed and position alone, so its token is the same in every batch.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.filter_candidates import RUN_WIDTH
from pagednb.kernels.filter_threshold import find_thresholds
from pagednb.kernels.key_search import order_key, scaled_logits
from pagednb.kernels.launch import check_rows
from pagednb.kernels.reference_sampling import CHUNK_PURPOSE, CHUNK_WIDTH, GREEDY_TEMPERATURE, PHILOX_LANE_WIDTH

_LANE = tl.constexpr(PHILOX_LANE_WIDTH)
_CHUNK = tl.constexpr(CHUNK_WIDTH)
_CHUNK_PURPOSE = tl.constexpr(CHUNK_PURPOSE)
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
    assert logits.dtype == torch.float32 or not has_filters, f"filters need float32 logits, got {logits.dtype}"
    tokens = torch.empty(num_rows, dtype=torch.int64, device=logits.device)
    if num_rows == 0:
        return tokens
    num_chunks = triton.cdiv(vocab, CHUNK_WIDTH)
    weights = torch.empty((num_rows, num_chunks), dtype=torch.float32, device=logits.device)
    best_tokens = torch.empty((num_rows, num_chunks), dtype=torch.int32, device=logits.device)
    thresholds, run_maxima = None, None
    if has_filters:
        thresholds, run_maxima = find_thresholds(logits, temperature, top_k, top_p, min_p)
    shared = (logits, logits.stride(0), vocab, temperature, thresholds)
    _weigh_kernel[(num_chunks, num_rows)](*shared, run_maxima, weights, best_tokens, RUN_WIDTH=RUN_WIDTH)
    _draw_kernel[(num_rows,)](
        *shared,
        seeds,
        positions,
        weights,
        best_tokens,
        tokens,
        num_chunks,
        CHUNKS_BLOCK=triton.next_power_of_2(num_chunks),
    )
    return tokens


@triton.jit
def _weigh_kernel(
    logits_ptr: tl.tensor,
    logits_stride: tl.tensor,
    vocab: tl.tensor,
    temperature_ptr: tl.tensor,
    thresholds_ptr: tl.tensor,
    run_maxima_ptr: tl.tensor,
    weights_ptr: tl.tensor,
    best_tokens_ptr: tl.tensor,
    RUN_WIDTH: tl.constexpr,
) -> None:
    """Weigh a chunk: the log of its mass; of a greedy row its largest logit, and where that is."""
    row = tl.program_id(1).to(tl.int64)
    chunk = tl.program_id(0)
    temperature = tl.load(temperature_ptr + row)
    partial = row * tl.num_programs(0) + chunk
    threshold = tl.zeros([], dtype=tl.uint32)
    if thresholds_ptr is not None:
        threshold = tl.load(thresholds_ptr + row).to(tl.uint32)
        if not _has_survivor(run_maxima_ptr, row, chunk, vocab, threshold, RUN_WIDTH):
            tl.store(weights_ptr + partial, float("-inf"))
            return

    cols = chunk * _CHUNK + tl.arange(0, _CHUNK)
    values = _surviving_logits(logits_ptr + row * logits_stride, cols, temperature, threshold, vocab)
    largest = tl.max(values, axis=0)
    weight = largest
    if temperature >= _GREEDY:
        # where nothing survives, exp(-inf - 0) is 0 and the log of no mass -inf
        base = tl.where(largest == float("-inf"), 0.0, largest)
        weight = base + tl.log(tl.sum(tl.exp(values - base), axis=0))
    else:
        tl.store(best_tokens_ptr + partial, tl.min(tl.where(values == largest, cols, vocab), axis=0))
    tl.store(weights_ptr + partial, weight)


@triton.jit
def _draw_kernel(
    logits_ptr: tl.tensor,
    logits_stride: tl.tensor,
    vocab: tl.tensor,
    temperature_ptr: tl.tensor,
    thresholds_ptr: tl.tensor,
    seeds_ptr: tl.tensor,
    positions_ptr: tl.tensor,
    weights_ptr: tl.tensor,
    best_tokens_ptr: tl.tensor,
    tokens_ptr: tl.tensor,
    num_chunks: tl.tensor,
    CHUNKS_BLOCK: tl.constexpr,
) -> None:
    """Draw a chunk, then a token of it, the first of ties."""
    row = tl.program_id(0).to(tl.int64)
    chunks = tl.arange(0, CHUNKS_BLOCK)
    temperature = tl.load(temperature_ptr + row)
    weights = tl.load(weights_ptr + row * num_chunks + chunks, mask=chunks < num_chunks, other=float("-inf"))
    if temperature < _GREEDY:
        chunk = tl.minimum(_first_best(weights, chunks, num_chunks), num_chunks - 1)
        token = tl.load(best_tokens_ptr + row * num_chunks + chunk)
        _store_token(tokens_ptr + row, token, logits_ptr + row * logits_stride, vocab)
        return

    seed = tl.load(seeds_ptr + row)
    position = tl.load(positions_ptr + row)
    low, high = (position & 0xFFFFFFFF).to(tl.uint32), (position >> 32).to(tl.uint32)
    word0, word1, word2, word3 = tl.philox(seed, chunks.to(tl.uint32), low, high, _CHUNK_PURPOSE)
    chunk = tl.minimum(_first_best(weights + _gumbel(word0), chunks, num_chunks), num_chunks - 1)

    threshold = tl.zeros([], dtype=tl.uint32)
    if thresholds_ptr is not None:
        threshold = tl.load(thresholds_ptr + row).to(tl.uint32)
    word0, word1, word2, word3 = tl.philox(seed, (chunk * _LANE + tl.arange(0, _LANE)).to(tl.uint32), low, high, 0)
    logits_row = logits_ptr + row * logits_stride
    cols = chunk * _CHUNK + tl.arange(0, _LANE)
    best = _surviving_logits(logits_row, cols, temperature, threshold, vocab) + _gumbel(word0)
    best_cols = cols
    best, best_cols = _better(best, best_cols, logits_row, cols + _LANE, word1, temperature, threshold, vocab)
    best, best_cols = _better(best, best_cols, logits_row, cols + 2 * _LANE, word2, temperature, threshold, vocab)
    best, best_cols = _better(best, best_cols, logits_row, cols + 3 * _LANE, word3, temperature, threshold, vocab)
    _store_token(tokens_ptr + row, _first_best(best, best_cols, vocab), logits_row, vocab)


@triton.jit
def _store_token(token_ptr: tl.tensor, token: tl.tensor, logits_row: tl.tensor, vocab: tl.tensor) -> None:
    """Store a row's token, or -1 if its logit is no number: among numbers a token with one is chosen."""
    token = tl.minimum(token, vocab - 1)
    logit = tl.load(logits_row + token)
    is_number = logit == logit  # noqa: PLR0124  (NaN alone is not itself)
    tl.store(token_ptr, tl.where(is_number, token, -1).to(tl.int64))


@triton.jit
def _first_best(values: tl.tensor, indices: tl.tensor, none: tl.tensor) -> tl.tensor:
    """Return the least index of a largest value; ``none`` where no value equals itself."""
    return tl.min(tl.where(values == tl.max(values, axis=0), indices, none), axis=0)


@triton.jit
def _has_survivor(
    run_maxima_ptr: tl.tensor,
    row: tl.tensor,
    chunk: tl.tensor,
    vocab: tl.tensor,
    threshold: tl.tensor,
    RUN_WIDTH: tl.constexpr,
) -> tl.tensor:
    """Return whether any logit of a chunk reaches the row's threshold."""
    survives = threshold == 0
    if threshold > 0:
        num_runs = tl.cdiv(vocab, RUN_WIDTH)
        runs = chunk * (4 * _LANE // RUN_WIDTH) + tl.arange(0, 4 * _LANE // RUN_WIDTH)
        maxima = tl.load(run_maxima_ptr + row * num_runs + runs, mask=runs < num_runs, other=float("-inf"))
        survives = order_key(tl.max(maxima, axis=0)) >= threshold
    return survives


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
    noisy = _surviving_logits(logits_row, cols, temperature, threshold, vocab) + _gumbel(word)
    return tl.maximum(best, noisy), tl.where(noisy > best, cols, best_cols)


@triton.jit
def _surviving_logits(
    logits_row: tl.tensor, cols: tl.tensor, temperature: tl.tensor, threshold: tl.tensor, vocab: tl.tensor
) -> tl.tensor:
    """Return scaled logits, -inf below the threshold; the bare logits of a greedy row."""
    logits = tl.load(logits_row + cols, mask=cols < vocab, other=float("-inf")).to(tl.float32)
    if temperature >= _GREEDY:
        scaled = scaled_logits(logits, temperature)
        logits = tl.where(order_key(scaled) >= threshold, scaled, float("-inf"))
    return logits


@triton.jit
def _gumbel(word: tl.tensor) -> tl.tensor:
    """Return ``-log(-log1p(-u))`` of u in (0, 1): fine-grained near 0, where the largest noise comes from."""
    u = tl.minimum(word.to(tl.float32) * 2.3283064365386963e-10 + 1.1641532182693481e-10, 0.9999999403953552)
    series = u * (1.0 + u * (0.5 + u * (0.3333333333333333 + u * 0.25)))
    return -tl.log(tl.where(u < 0.01, series, -tl.log(1.0 - u)))

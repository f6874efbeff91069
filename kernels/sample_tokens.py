"""Gumbel-max sampling with counter-based noise: one pass over the logits, after the filters' thresholds are known.

No sort and no host: a fixed sequence of launches that a graph can capture. A row's noise depends on its seed and
position alone, so its token is the same in every batch.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.filter_candidates import RUN_WIDTH
from pagednb.kernels.filter_threshold import find_thresholds
from pagednb.kernels.key_search import order_key, scaled_logits
from pagednb.kernels.launch import check_rows
from pagednb.kernels.reference_sampling import GREEDY_TEMPERATURE, PHILOX_LANE_WIDTH

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
    tokens = torch.empty(num_rows, dtype=torch.int64, device=logits.device)
    if num_rows == 0:
        return tokens
    num_chunks = triton.cdiv(vocab, 4 * PHILOX_LANE_WIDTH)
    best_logits = torch.empty((num_rows, num_chunks), dtype=torch.float32, device=logits.device)
    best_tokens = torch.empty((num_rows, num_chunks), dtype=torch.int32, device=logits.device)
    thresholds, run_maxima = None, None
    if has_filters:
        thresholds, run_maxima = find_thresholds(logits, temperature, top_k, top_p, min_p)
    _best_of_chunk_kernel[(num_chunks, num_rows)](
        logits,
        logits.stride(0),
        vocab,
        temperature,
        thresholds,
        run_maxima,
        seeds,
        positions,
        best_logits,
        best_tokens,
        RUN_WIDTH=RUN_WIDTH,
    )
    _best_of_row_kernel[(num_rows,)](
        best_logits, best_tokens, tokens, num_chunks, vocab, CHUNKS_BLOCK=triton.next_power_of_2(num_chunks)
    )
    return tokens


@triton.jit
def _best_of_chunk_kernel(
    logits_ptr: tl.tensor,
    logits_stride: tl.tensor,
    vocab: tl.tensor,
    temperature_ptr: tl.tensor,
    thresholds_ptr: tl.tensor,
    run_maxima_ptr: tl.tensor,
    seeds_ptr: tl.tensor,
    positions_ptr: tl.tensor,
    best_logits_ptr: tl.tensor,
    best_tokens_ptr: tl.tensor,
    RUN_WIDTH: tl.constexpr,
) -> None:
    """Find the best surviving token of a chunk, with noise unless the row is greedy."""
    row = tl.program_id(1).to(tl.int64)
    chunk = tl.program_id(0)
    temperature = tl.load(temperature_ptr + row)
    threshold = tl.zeros([], dtype=tl.uint32)
    partial = row * tl.num_programs(0) + chunk
    if thresholds_ptr is not None:
        threshold = tl.load(thresholds_ptr + row).to(tl.uint32)
        if not _has_survivor(run_maxima_ptr, row, chunk, vocab, threshold, RUN_WIDTH):
            tl.store(best_logits_ptr + partial, float("-inf"))
            tl.store(best_tokens_ptr + partial, vocab)
            return

    word0 = tl.zeros([_LANE], dtype=tl.uint32)
    word1, word2, word3 = word0, word0, word0
    if temperature >= _GREEDY:
        seed = tl.load(seeds_ptr + row)
        position = tl.load(positions_ptr + row)
        low, high = (position & 0xFFFFFFFF).to(tl.uint32), (position >> 32).to(tl.uint32)
        word0, word1, word2, word3 = tl.philox(seed, chunk * _LANE + tl.arange(0, _LANE), low, high, 0)
    logits_row = logits_ptr + row * logits_stride
    cols = chunk * (4 * _LANE) + tl.arange(0, _LANE)
    best, best_cols = _noisy(logits_row, cols, word0, temperature, threshold, vocab), cols
    best, best_cols = _better(best, best_cols, logits_row, cols + _LANE, word1, temperature, threshold, vocab)
    best, best_cols = _better(best, best_cols, logits_row, cols + 2 * _LANE, word2, temperature, threshold, vocab)
    best, best_cols = _better(best, best_cols, logits_row, cols + 3 * _LANE, word3, temperature, threshold, vocab)

    best_of_chunk = tl.max(best, axis=0)
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
    noisy = tl.load(logits_row + cols, mask=cols < vocab, other=float("-inf"))
    if temperature >= _GREEDY:
        scaled = scaled_logits(noisy, temperature)
        noisy = tl.where(order_key(scaled) >= threshold, scaled + _gumbel(word), float("-inf"))
    return noisy


@triton.jit
def _gumbel(word: tl.tensor) -> tl.tensor:
    """Return ``-log(-log1p(-u))`` of u in (0, 1): fine-grained near 0, where the largest noise comes from."""
    u = tl.minimum(word.to(tl.float32) * 2.3283064365386963e-10 + 1.1641532182693481e-10, 0.9999999403953552)
    series = u * (1.0 + u * (0.5 + u * (0.3333333333333333 + u * 0.25)))
    return -tl.log(tl.where(u < 0.01, series, -tl.log(1.0 - u)))

"""A matrix product for very few rows: bound by reading the weight once, so nothing but that is arranged for.

A program owns some output features and reads their whole weight rows with wide loads, many in flight; sums stay in
registers, one for each element of a tile, and are added up at the end. A row of ``x`` is multiplied in the same order
however many rows there are. Where the GPU can (Hopper or later) the kernel starts while the one ahead of it still runs
and reads its first tile of the weight, which depends on nothing, before it waits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

from pagednb.kernels.launch import check_rows, overlap_options

MAX_ROWS = 4
"""Most rows that the kernel can sum in its registers."""
FEW_ROWS = 1
"""Most rows that it is used for: at four, multiplying takes longer than reading, and cuBLAS's tensor cores win."""

_TILE = 4096  # weight elements that a program holds at a time
_MIN_BLOCK_K, _MAX_BLOCK_K = 512, 2048


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return ``x @ weight.T + bias``, ``[num_rows, out_features]``. See reference.linear."""
    if not 0 < len(x) <= FEW_ROWS:
        return F.linear(x, weight, bias)
    return few_rows_linear(x, weight, bias)


def few_rows_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return the same by the kernel, for 1 to ``MAX_ROWS`` rows."""
    num_rows, in_features = x.shape
    assert 0 < num_rows <= MAX_ROWS, f"{num_rows} rows"
    check_rows(x, in_features, like=x)
    check_rows(weight, in_features, like=x)
    out_features = weight.shape[0]
    out = torch.empty((num_rows, out_features), dtype=x.dtype, device=x.device)
    block_k = max(_MIN_BLOCK_K, min(_MAX_BLOCK_K, triton.next_power_of_2(in_features) // 2))
    overlap = overlap_options(x.device)
    block_n = _TILE // block_k
    _few_rows_kernel[(triton.cdiv(out_features, block_n),)](
        x,
        weight,
        bias,
        out,
        x.stride(0),
        weight.stride(0),
        out_features,
        IN_FEATURES=in_features,
        NUM_ROWS=num_rows,
        BLOCK_N=block_n,
        BLOCK_K=block_k,
        OVERLAP=bool(overlap),
        num_warps=4,
        **overlap,
    )
    return out


@triton.jit
def _few_rows_kernel(
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    bias_ptr: tl.tensor,
    out_ptr: tl.tensor,
    x_stride: tl.tensor,
    weight_stride: tl.tensor,
    out_features: tl.tensor,
    IN_FEATURES: tl.constexpr,
    NUM_ROWS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    OVERLAP: tl.constexpr,
) -> None:
    features = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    cols = tl.arange(0, BLOCK_K)
    weight_rows = weight_ptr + features[:, None].to(tl.int64) * weight_stride
    is_feature = (features < out_features)[:, None]
    tile = _load_tile(weight_rows, cols, is_feature, IN_FEATURES, BLOCK_K)
    if OVERLAP:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()

    sum0 = tl.zeros([BLOCK_N, BLOCK_K], dtype=tl.float32)
    sum1, sum2, sum3 = sum0, sum0, sum0
    for start in tl.static_range(0, IN_FEATURES, BLOCK_K):
        x_cols = x_ptr + start + cols
        inside = start + cols < IN_FEATURES
        weights = tile.to(tl.float32)
        sum0 += weights * _load_row(x_cols, 0, x_stride, inside)
        if NUM_ROWS > 1:
            sum1 += weights * _load_row(x_cols, 1, x_stride, inside)
        if NUM_ROWS > 2:
            sum2 += weights * _load_row(x_cols, 2, x_stride, inside)
        if NUM_ROWS > 3:
            sum3 += weights * _load_row(x_cols, 3, x_stride, inside)
        if start + BLOCK_K < IN_FEATURES:
            tile = _load_tile(weight_rows, start + BLOCK_K + cols, is_feature, IN_FEATURES, BLOCK_K)

    out_cols = out_ptr + features
    _store_row(out_cols, 0, sum0, bias_ptr, features, out_features)
    if NUM_ROWS > 1:
        _store_row(out_cols, 1, sum1, bias_ptr, features, out_features)
    if NUM_ROWS > 2:
        _store_row(out_cols, 2, sum2, bias_ptr, features, out_features)
    if NUM_ROWS > 3:
        _store_row(out_cols, 3, sum3, bias_ptr, features, out_features)


@triton.jit
def _load_tile(
    weight_rows: tl.tensor,
    cols: tl.tensor,
    is_feature: tl.tensor,
    IN_FEATURES: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> tl.tensor:
    """Load a tile of the weight, which nobody reads again soon."""
    inside = is_feature
    if IN_FEATURES % BLOCK_K != 0:
        inside = is_feature & (cols < IN_FEATURES)[None, :]
    return tl.load(weight_rows + cols[None, :], mask=inside, other=0.0, eviction_policy="evict_first")


@triton.jit
def _load_row(x_cols: tl.tensor, row: tl.constexpr, x_stride: tl.tensor, inside: tl.tensor) -> tl.tensor:
    return tl.load(x_cols + row * x_stride, mask=inside, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _store_row(
    out_cols: tl.tensor,
    row: tl.constexpr,
    sums: tl.tensor,
    bias_ptr: tl.tensor,
    features: tl.tensor,
    out_features: tl.tensor,
) -> None:
    inside = features < out_features
    result = tl.sum(sums, axis=1)
    if bias_ptr is not None:
        result += tl.load(bias_ptr + features, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_cols + row * out_features, result.to(out_cols.dtype.element_ty), mask=inside)

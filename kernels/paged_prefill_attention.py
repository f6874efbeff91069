"""Prefill attention: chunks of queries, causal, over the paged cache.

Query heads that share a KV head are packed into the rows of a tile beside the query positions, so that a tile of
``BLOCK_M`` rows covers ``BLOCK_M // group`` positions and reads each key once a group. Tiles are numbered over the
flat batch: sequence ``s`` owns the numbers from ``query_start // positions_per_tile + s`` on, which leaves room for its
last, partly filled tile and needs no list from the host; a program finds its sequence by counting the starts below it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.launch import LOG2_E, check_cache, check_queries, dot_precision
from pagednb.kernels.output import output_like
from pagednb.kernels.paged_tile import load_rows, softmax_step


def paged_prefill_attention(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_tables: torch.Tensor,
    query_start_loc: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    scale: float,
    max_query_len: int,
    sliding_window: int | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return causal attention of prefill chunks, ``[num_tokens, num_q_heads, head_dim]``. See reference_attention."""
    num_tokens, num_q_heads, head_dim = q.shape
    _, num_kv_heads, block_size, _ = k_cache.shape
    num_seqs = seq_lens.shape[0]
    check_cache(k_cache, v_cache, head_dim)
    check_queries(q, k_cache, block_tables)
    assert query_start_loc.shape == (num_seqs + 1,), f"{num_seqs} sequences, bounds {list(query_start_loc.shape)}"
    out = output_like(q, out)
    if num_tokens == 0 or num_seqs == 0:
        return out
    group = num_q_heads // num_kv_heads
    block_d = max(16, triton.next_power_of_2(head_dim))
    tile = _tile_launch(q.dtype, block_d, max_query_len * group, group)
    num_tiles = num_tokens // (tile["BLOCK_M"] // group) + num_seqs
    _prefill_kernel[(num_tiles * num_kv_heads,)](
        q,
        k_cache,
        v_cache,
        block_tables,
        query_start_loc,
        seq_lens,
        out,
        q.stride(0),
        q.stride(1),
        block_tables.stride(0),
        scale * LOG2_E,
        num_seqs,
        NUM_KV_HEADS=num_kv_heads,
        GROUP=group,
        HEAD_DIM=head_dim,
        BLOCK_SIZE=block_size,
        WINDOW=sliding_window or 0,
        BLOCK_D=block_d,
        PRECISION=dot_precision(q.dtype),
        **tile,
    )
    return out


def _tile_launch(dtype: torch.dtype, block_d: int, max_rows: int, group: int) -> dict[str, int]:
    """Tile and pipeline sizes: no more rows than the longest chunk fills, never less than a group.

    Measured on an H200: tiles of 64 rows are bound by L2, where they read keys at 64 operations a byte, so long chunks
    take 128. Two programs must then share a multiprocessor, one multiplying while the other computes weights. The
    register limit that allows it takes a quarter off the time of a long prompt, although some registers spill.
    """
    if dtype == torch.float32:  # multiplied without tensor cores: the tiles live in registers
        largest, block_n = (32, 32) if block_d <= 64 else (16, 16)
    else:
        largest, block_n = (128 if block_d <= 128 else 64), 64
    smallest = max(16, triton.next_power_of_2(group))
    block_m = max(smallest, min(largest, triton.next_power_of_2(max_rows)))
    tile = {"BLOCK_M": block_m, "BLOCK_N": block_n, "num_warps": 4, "num_stages": 2}
    if dtype != torch.float32 and block_m >= 128:
        tile |= {"num_warps": 8, "maxnreg": 128}
    return tile


# slices of the batch reach these pointers at any alignment; a compiled variant for each would only cost time
@triton.jit(
    do_not_specialize=["num_seqs"],
    do_not_specialize_on_alignment=["block_tables_ptr", "query_start_loc_ptr", "seq_lens_ptr"],
)
def _prefill_kernel(
    q_ptr: tl.tensor,
    k_cache_ptr: tl.tensor,
    v_cache_ptr: tl.tensor,
    block_tables_ptr: tl.tensor,
    query_start_loc_ptr: tl.tensor,
    seq_lens_ptr: tl.tensor,
    out_ptr: tl.tensor,
    q_stride_token: tl.tensor,
    q_stride_head: tl.tensor,
    tables_stride: tl.tensor,
    scale_log2: tl.tensor,
    num_seqs: tl.tensor,
    NUM_KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    WINDOW: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    BLOCK_Q: tl.constexpr = BLOCK_M // GROUP
    # late tiles see the most keys: they go first. The heads of a tile run side by side, next to tiles of its sequence
    tile = (tl.num_programs(0) - 1 - tl.program_id(0)) // NUM_KV_HEADS
    kv_head = tl.program_id(0) % NUM_KV_HEADS
    seq, seq_tile = _find_sequence(query_start_loc_ptr, tile, num_seqs, BLOCK_Q)
    chunk_start = tl.load(query_start_loc_ptr + seq)
    query_len = tl.load(query_start_loc_ptr + seq + 1) - chunk_start
    seq_len = tl.load(seq_lens_ptr + seq)
    tile_query = seq_tile * BLOCK_Q  # first query of the tile, counted within the chunk
    if tile_query >= query_len:
        return

    rows = tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    queries = tile_query + rows // GROUP
    tokens = (chunk_start - tl.load(query_start_loc_ptr) + queries).to(tl.int64)
    q_heads = kv_head * GROUP + rows % GROUP
    inside = ((rows < BLOCK_Q * GROUP) & (queries < query_len))[:, None] & (dims < HEAD_DIM)[None, :]
    q_offsets = tokens[:, None] * q_stride_token + q_heads[:, None] * q_stride_head + dims[None, :]
    q = tl.load(q_ptr + q_offsets, mask=inside, other=0.0)

    query_pos = seq_len - query_len + queries
    first_pos = seq_len - query_len + tile_query
    last_pos = tl.minimum(first_pos + BLOCK_Q, seq_len) - 1
    begin = 0
    if WINDOW > 0:
        begin = tl.maximum(first_pos - WINDOW + 1, 0) // BLOCK_N * BLOCK_N
    table_ptr = block_tables_ptr + seq.to(tl.int64) * tables_stride
    acc = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    row_max = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    row_sum = tl.zeros([BLOCK_M], dtype=tl.float32)
    for start in tl.range(begin, last_pos + 1, BLOCK_N):
        # past the last key its row is loaded again, for no query to see: loads without masks need fewer registers
        key_pos = tl.minimum(start + tl.arange(0, BLOCK_N), last_pos)
        block = tl.load(table_ptr + key_pos // BLOCK_SIZE)
        cache_rows = (block * NUM_KV_HEADS + kv_head) * BLOCK_SIZE + key_pos % BLOCK_SIZE
        cache_rows = cache_rows.to(tl.int64) * HEAD_DIM
        k = load_rows(k_cache_ptr, cache_rows, None, False, HEAD_DIM, BLOCK_D)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        scores = _hide(scores, start, query_pos, first_pos, last_pos, WINDOW, BLOCK_N)
        acc, row_max, row_sum, weights = softmax_step(acc, row_max, row_sum, scores, WINDOW > 0, scale_log2)
        v = load_rows(v_cache_ptr, cache_rows, None, False, HEAD_DIM, BLOCK_D)
        acc = tl.dot(weights.to(v.dtype), v, acc, input_precision=PRECISION)

    out_offsets = (tokens * (NUM_KV_HEADS * GROUP) + q_heads)[:, None] * HEAD_DIM + dims[None, :]
    tl.store(out_ptr + out_offsets, (acc * (1.0 / row_sum)[:, None]).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _find_sequence(
    query_start_loc_ptr: tl.tensor, tile: tl.tensor, num_seqs: tl.tensor, BLOCK_Q: tl.constexpr
) -> tuple[tl.tensor, ...]:
    """Return the sequence that owns a tile number, and the tile's number within it."""
    SEQS_BLOCK: tl.constexpr = 256
    base = tl.load(query_start_loc_ptr)
    num_starts = 0
    for first in tl.range(0, num_seqs, SEQS_BLOCK):
        seqs = first + tl.arange(0, SEQS_BLOCK)
        starts = tl.load(query_start_loc_ptr + seqs, mask=seqs < num_seqs, other=0) - base
        owned = (starts // BLOCK_Q + seqs <= tile) & (seqs < num_seqs)
        num_starts += tl.sum(owned.to(tl.int32), axis=0)
    seq = num_starts - 1
    seq_tile = tile - ((tl.load(query_start_loc_ptr + seq) - base) // BLOCK_Q + seq)
    return seq, seq_tile


@triton.jit
def _hide(
    scores: tl.tensor,
    start: tl.tensor,
    query_pos: tl.tensor,
    first_pos: tl.tensor,
    last_pos: tl.tensor,
    WINDOW: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> tl.tensor:
    """Hide the keys that a row must not see; most tiles of keys are seen by all rows and pass untouched."""
    is_cut = start + BLOCK_N > first_pos + 1
    if WINDOW > 0:
        is_cut = is_cut | (start <= last_pos - WINDOW)
    if is_cut:
        key_pos = start + tl.arange(0, BLOCK_N)
        visible = key_pos[None, :] <= query_pos[:, None]
        if WINDOW > 0:
            visible = visible & (key_pos[None, :] > query_pos[:, None] - WINDOW)
        scores = tl.where(visible, scores, float("-inf"))
    return scores

"""Paged attention in plain torch: the meaning of the two attention kernels, and the CPU engine.

Only slots below a sequence's length and table entries that cover them are ever used; whatever lies elsewhere (stale
tables, NaN) cannot reach the result.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from pagednb.kernels.output import output_like

_MAX_GATHERED_ELEMENTS = 1 << 23
"""Decode gathers K and V of at most this many elements at once (32 MiB each in fp32)."""


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
    """Causal attention of prefill chunks over the paged cache, which already holds the chunks' own K and V.

    Query ``i`` of sequence ``s`` stands at position ``seq_lens[s] - query_len + i`` and sees the keys up to there, or
    the last ``sliding_window`` of them. A chunk may be empty (its length then means nothing), and tokens may follow the
    last chunk: both are padding of fixed shapes, and nothing is computed for them.

    Args:
        q: ``[num_tokens, num_q_heads, head_dim]``, the chunks one after another.
        k_cache, v_cache: ``[num_blocks, num_kv_heads, block_size, head_dim]``.
        block_tables: int32 ``[num_seqs, max_blocks]``; entries past a sequence's last block may hold anything.
        query_start_loc: int32 ``[num_seqs + 1]``, bounds of the chunks. Only differences count: it need not start at 0.
        seq_lens: int32 ``[num_seqs]``, lengths with the chunks included.
        scale: of the scores.
        max_query_len: upper bound of the chunk lengths.
        sliding_window: number of keys a query sees, its own included. None sees all.
        out: where to write, contiguous, of q's shape and dtype. None allocates it.

    Returns:
        ``out``, ``[num_tokens, num_q_heads, head_dim]``. Rows of tokens that belong to no chunk are left as they were.
    """
    block_size = k_cache.shape[2]
    bounds, lengths = query_start_loc.tolist(), seq_lens.tolist()
    out = output_like(q, out)
    for seq, seq_len in enumerate(lengths):
        tokens = slice(bounds[seq] - bounds[0], bounds[seq + 1] - bounds[0])
        if tokens.start == tokens.stop:
            continue
        blocks = block_tables[seq, : -(-seq_len // block_size)]
        k, v = (_gather(cache, blocks, seq_len) for cache in (k_cache, v_cache))
        out[tokens] = _attend_chunk(q[tokens], k, v, scale, sliding_window)
    return out


def paged_decode_attention(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_tables: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    scale: float,
    max_seq_len: int,
    sliding_window: int | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of one query a sequence, standing at its last position, over the paged cache.

    Args:
        q: ``[num_seqs, num_q_heads, head_dim]``.
        k_cache, v_cache: ``[num_blocks, num_kv_heads, block_size, head_dim]``.
        block_tables: int32 ``[num_seqs, max_blocks]``; entries past a sequence's last block may hold anything.
        seq_lens: int32 ``[num_seqs]``, at least 1.
        scale: of the scores.
        max_seq_len: upper bound of ``seq_lens`` known on the host.
        sliding_window: number of keys the query sees, its own included. None sees all.
        out: where to write, contiguous, of q's shape and dtype. None allocates it.

    Returns:
        ``out``, ``[num_seqs, num_q_heads, head_dim]``.
    """
    num_kv_heads, block_size, head_dim = k_cache.shape[1:]
    num_blocks = -(-max_seq_len // block_size)
    rows = max(1, _MAX_GATHERED_ELEMENTS // (num_blocks * block_size * num_kv_heads * head_dim))
    out = output_like(q, out)
    for start in range(0, q.shape[0], rows):
        part = slice(start, start + rows)
        out[part] = _attend_decodes(
            q[part], k_cache, v_cache, block_tables[part, :num_blocks], seq_lens[part], scale, sliding_window
        )
    return out


def shared_prefix_attention(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_tables: torch.Tensor,
    seq_lens: torch.Tensor,
    prefix_lens: torch.Tensor,
    *,
    scale: float,
    max_seq_len: int,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention as of ``paged_decode_attention`` where a group of sequences begins with the same keys.

    Args:
        q, k_cache, v_cache, block_tables, seq_lens, scale, max_seq_len, out: as there.
        prefix_lens: int32 ``[num_seqs]``: how many keys a member of the group has in common with the others, the same
            number for all; any member's table may be read for them. 0 outside the group; a sequence that is not longer
            than this is no member either.

    Returns:
        ``[num_seqs, num_q_heads, head_dim]``.
    """
    prefix_lens = prefix_lens.where(prefix_lens < seq_lens, 0)
    if prefix_lens.any():
        leader = block_tables[prefix_lens.argmax()]
        block_ends = torch.arange(1, len(leader) + 1, device=q.device) * k_cache.shape[2]
        block_tables = torch.where(block_ends <= prefix_lens.unsqueeze(1), leader, block_tables)
    return paged_decode_attention(
        q, k_cache, v_cache, block_tables, seq_lens, scale=scale, max_seq_len=max_seq_len, out=out
    )


def _attend_chunk(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, sliding_window: int | None
) -> torch.Tensor:
    query_len, num_q_heads, head_dim = q.shape
    num_kv_heads, seq_len, _ = k.shape
    grouped = q.transpose(0, 1).reshape(num_kv_heads, num_q_heads // num_kv_heads, query_len, head_dim)
    k, v = (x.unsqueeze(1).expand(-1, grouped.shape[1], -1, -1) for x in (k, v))
    if query_len == seq_len and sliding_window is None:
        out = F.scaled_dot_product_attention(grouped, k, v, is_causal=True, scale=scale)
    else:
        query_pos = torch.arange(seq_len - query_len, seq_len, device=q.device).unsqueeze(1)
        mask = _visible(torch.arange(seq_len, device=q.device), query_pos, sliding_window)
        out = F.scaled_dot_product_attention(grouped, k, v, attn_mask=mask, scale=scale)
    return out.reshape(num_q_heads, query_len, head_dim).transpose(0, 1)


def _attend_decodes(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_tables: torch.Tensor,
    seq_lens: torch.Tensor,
    scale: float,
    sliding_window: int | None,
) -> torch.Tensor:
    num_seqs, num_q_heads, head_dim = q.shape
    num_kv_heads, block_size = k_cache.shape[1:3]
    block_starts = torch.arange(block_tables.shape[1], device=q.device) * block_size
    tables = block_tables.where(block_starts < seq_lens.unsqueeze(1), 0)
    k, v = (cache[tables].transpose(1, 2).flatten(2, 3) for cache in (k_cache, v_cache))  # [seqs, kv_heads, len, dim]
    last = (seq_lens - 1).unsqueeze(1)
    visible = _visible(torch.arange(k.shape[2], device=q.device), last, sliding_window)
    visible = visible.view(num_seqs, 1, 1, -1)
    # a weight of zero does not silence a NaN key or value: unused slots are cleared
    k, v = (x.masked_fill(~visible.transpose(2, 3), 0.0) for x in (k, v))
    grouped = q.reshape(num_seqs, num_kv_heads, num_q_heads // num_kv_heads, head_dim)
    out = F.scaled_dot_product_attention(grouped, k, v, attn_mask=visible, scale=scale)
    return out.reshape(num_seqs, num_q_heads, head_dim)


def _gather(cache: torch.Tensor, blocks: torch.Tensor, seq_len: int) -> torch.Tensor:
    """Return ``[num_kv_heads, seq_len, head_dim]`` of one sequence."""
    return cache[blocks].transpose(0, 1).flatten(1, 2)[:, :seq_len]


def _visible(key_pos: torch.Tensor, query_pos: torch.Tensor, sliding_window: int | None) -> torch.Tensor:
    visible = key_pos <= query_pos
    return visible if sliding_window is None else visible & (key_pos > query_pos - sliding_window)

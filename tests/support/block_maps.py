"""Maps of KV blocks written by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pagednb.kv_cache.block_map import BlockMap


def block_map(
    tables: dict[int, list[int]], *, num_blocks: int, cached: Sequence[int] = (), num_tokens: int = 10
) -> BlockMap:
    """A map of requests with these block tables."""
    entries = [block_id for table in tables.values() for block_id in table]
    keeps_content = np.zeros(num_blocks + 1, dtype=np.bool_)
    keeps_content[list(cached)] = True
    return BlockMap(
        block_size=4,
        ref_counts=np.bincount(entries, minlength=num_blocks + 1).astype(np.int32),
        keeps_content=keeps_content,
        request_ids=np.array(list(tables), dtype=np.int64),
        num_tokens=np.full(len(tables), num_tokens, dtype=np.int64),
        table_lens=np.array([len(table) for table in tables.values()], dtype=np.int32),
        table_blocks=np.array(entries, dtype=np.int32),
    )

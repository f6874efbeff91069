"""Finds the prefix that many decoding rows have in common, for attention that reads it once for all of them.

One group a step is enough: the rows of a dataframe job begin with its instruction. Block tables tell: rows that share
blocks share what lies in them, and a block with an empty slot is never shared.
"""

from __future__ import annotations

import numpy as np

from pagednb.config import SchedulerConfig
from pagednb.scheduler.books import Books

_SAMPLE_ROWS = 32
_MIN_SHARE_OF_ROWS = 0.5
"""A group is worth it only if it is most of the batch: tiles of neighbouring rows carry the others along (on an H200 a
quarter of 512 rows loses by a prefix of 512 tokens). So a few rows, evenly chosen, are sure to hold one of its members.
"""


class SharedPrefixFinder:
    """Finds groups that are large enough for ``config``."""

    def __init__(self, config: SchedulerConfig) -> None:
        self._min_saved_tokens = config.min_shared_prefix_tokens
        self._min_rows = config.min_shared_prefix_rows
        self._rows: np.ndarray | None = None
        self._lens: np.ndarray | None = None

    def find(self, books: Books, rows: np.ndarray) -> np.ndarray | None:
        """Return how many leading tokens each of ``rows`` shares with the group, 0 for those outside; None: no group.

        Rows keep their prefix for as long as they decode, so the same object ``rows`` has the same answer object.

        Args:
            books: tables with the blocks that ``rows`` need in this step.
            rows: int32 ``[num_decodes]``, as ``RowTable.decode_rows`` returns them.

        Returns:
            int32 ``[num_decodes]``, read-only; a member's prefix always ends before the token it computes.
        """
        if self._min_saved_tokens is None:
            return None
        if rows is not self._rows:
            self._rows, self._lens = rows, self._find_group(books, rows, self._min_saved_tokens)
        return self._lens

    def _find_group(self, books: Books, rows: np.ndarray, min_saved_tokens: int) -> np.ndarray | None:
        blocks = books.blocks
        prefix = _most_shared_prefix(books, rows[:: len(rows) // _SAMPLE_ROWS + 1])
        num_tokens = len(prefix) * blocks.block_size
        if num_tokens * (len(rows) - 1) < max(min_saved_tokens, 1):
            return None
        # columns past a row's blocks mean nothing; none is reached, since the block before them is the row's own
        is_member = (blocks.leading_blocks(rows, len(prefix)) == prefix).all(axis=1)
        num_members = int(np.count_nonzero(is_member))
        if num_members < max(self._min_rows, _MIN_SHARE_OF_ROWS * len(rows)):
            return None
        if num_tokens * (num_members - 1) < min_saved_tokens:
            return None
        lens = np.where(is_member, np.int32(num_tokens), np.int32(0))
        lens.setflags(write=False)
        return lens


def _most_shared_prefix(books: Books, sample: np.ndarray) -> np.ndarray:
    """Return the leading blocks that save the most if all their owners read them once; empty when none is shared.

    Owners are counted over all rows, decoding or not: a guess, which the caller checks.
    """
    blocks = books.blocks
    if not len(sample):
        return sample
    tables = blocks.leading_blocks(sample, int(blocks.num_blocks[sample].max()))  # [num_sampled, num_columns]
    depths = np.arange(1, tables.shape[1] + 1)
    num_sharers = np.where(depths <= blocks.num_blocks[sample, None], blocks.pool.ref_counts[tables] - 1, 0)
    savings = num_sharers * depths
    best, column = divmod(int(savings.argmax()), tables.shape[1])
    depth = column + 1 if savings[best, column] > 0 else 0
    return tables[best, :depth]

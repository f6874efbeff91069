"""How a waiting sequence would begin: with blocks of the prefix cache, or with those of the prompt that it forks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pagednb.scheduler.books import Books
from pagednb.scheduler.output import EMPTY_ROWS
from pagednb.scheduler.prompt_scores import find_scores
from pagednb.scheduler.sequence import Sequence


class Start(NamedTuple):
    """What a sequence shares, and how many free blocks it needs now and soon.

    ``shared_block_ids`` are read only; ``copied_block_id`` is the one after them that it gets a copy of: a fork
    because it will write there, others because their prompts go on alike for a part of it. ``host_block_ids`` are
    those of a preempted sequence that follow the shared ones in its table.
    """

    shared_block_ids: np.ndarray
    num_computed: int
    num_free_wanted: int
    copied_block_id: int | None = None
    host_block_ids: np.ndarray = EMPTY_ROWS


def find_start(books: Books, sequence: Sequence, *, step: int) -> Start:
    """Return the best beginning for ``sequence`` in the plan of ``step``."""
    blocks, token_ids = books.blocks, sequence.token_ids
    num_wanted = blocks.blocks_ahead(len(token_ids), sequence.request.max_total_tokens)
    parent_row = _parent_row(books, sequence, step)
    if parent_row is not None:
        assert books.rows.num_prompt[parent_row] == len(token_ids), "a fork has another prompt than its parent"
        *shared, copied = blocks.table(parent_row)[: blocks.blocks_for(len(token_ids))].tolist()
        shared_block_ids = np.array(shared, dtype=np.int32)
        return Start(shared_block_ids, len(token_ids) - 1, num_wanted - len(shared), copied)
    if sequence.wants_scores:
        find_scores(books, sequence)
    shareable = token_ids[: sequence.num_scored] if sequence.wants_scores else token_ids
    if sequence.request.pooling in ("mean", "cls"):
        shareable = token_ids[:1]  # the hidden states of a cached prefix are gone
    match = blocks.find_prefix(sequence.block_digests, shareable, sequence.request.cache_salt)
    swapped, num_shared = books.swap_space.find(sequence.request.request_id), len(match.block_ids)
    if swapped is not None and swapped.first_column <= num_shared and swapped.num_tokens > match.num_tokens:
        host_block_ids = swapped.host_block_ids[num_shared - swapped.first_column :]
        num_free_wanted = num_wanted - match.num_used
        return Start(match.block_ids, swapped.num_tokens, num_free_wanted, host_block_ids=host_block_ids)
    return Start(match.block_ids, match.num_tokens, num_wanted - match.num_used, match.copied_block_id)


def _parent_row(books: Books, sequence: Sequence, step: int) -> int | None:
    """Return the row whose prompt blocks a fork can share: written before this step, for they are copied first."""
    parent_id = sequence.request.parent_id
    if parent_id is None or len(sequence.output_token_ids):
        return None
    row = books.rows.row_of.get(parent_id)
    if row is None or row in books.rows.prefilling or books.rows.decodes_since[row] == step:
        return None
    return row

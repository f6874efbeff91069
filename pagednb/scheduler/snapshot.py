"""The scheduler's books at one moment: blocks by owner, and how far each request has come.

Taken by ``Scheduler.snapshot`` on the engine thread, only when somebody asks: a few array copies, and a handful of
Python calls for a request that runs. Of those that wait, the first are listed.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from pagednb.kv_cache.block_map import BlockMap
from pagednb.scheduler.books import Books
from pagednb.scheduler.sequence import Sequence
from pagednb.scheduler.stats import SchedulerStats

MAX_WAITING_LISTED = 64
_NO_BLOCKS = np.empty(0, dtype=np.int32)


class RequestProgress(NamedTuple):
    """How far one request has come.

    Attributes:
        parent_id: the request whose prompt it shares (``n > 1``), or None.
        order: (priority, 0 if somebody watches the stream else 1, arrival); the least is served first.
        num_cached_tokens: prompt tokens that were found computed when it first came in; None before.
        num_computed_tokens: tokens whose keys and values are in its blocks, or on their way there; 0 while it waits.
        num_generated_tokens: tokens of its answer that are known, of ``max_tokens`` at most.
        num_preemptions: how often it was sent back to wait.
        num_blocks: length of its block table.
        num_host_blocks: its blocks in host memory, while it waits after a preemption.
    """

    request_id: int
    parent_id: int | None
    order: tuple[int, int, int]
    num_prompt_tokens: int
    num_cached_tokens: int | None
    num_computed_tokens: int
    num_generated_tokens: int
    max_tokens: int
    num_preemptions: int
    num_blocks: int
    num_host_blocks: int = 0

    @property
    def priority(self) -> int:
        """Lower runs first."""
        return self.order[0]

    @property
    def is_interactive(self) -> bool:
        """Whether somebody watches its stream."""
        return self.order[1] == 0

    @property
    def num_known_tokens(self) -> int:
        """Prompt and answer so far."""
        return self.num_prompt_tokens + self.num_generated_tokens

    @property
    def is_prefilling(self) -> bool:
        """Whether tokens before its last known one are still to be computed, or all of them while it waits."""
        return self.num_computed_tokens < self.num_known_tokens - 1


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SchedulerSnapshot:
    """A moment of the scheduler.

    ``running`` are all that run, in no order; ``waiting`` the first ``MAX_WAITING_LISTED`` that wait, next one first.
    """

    stats: SchedulerStats
    blocks: BlockMap
    running: tuple[RequestProgress, ...]
    waiting: tuple[RequestProgress, ...]


def take_snapshot(books: Books, stats: SchedulerStats) -> SchedulerSnapshot:
    """Copy what can be looked at; on the engine thread, between two steps."""
    rows = np.fromiter(books.rows.row_of.values(), dtype=np.int64, count=books.rows.num_running)
    return SchedulerSnapshot(
        stats=stats,
        blocks=_block_map(books, rows),
        running=_running(books, rows),
        waiting=tuple(_waiting(books, sequence) for sequence in books.waiting.front(MAX_WAITING_LISTED)),
    )


def _block_map(books: Books, rows: np.ndarray) -> BlockMap:
    blocks = books.blocks
    return BlockMap(
        block_size=blocks.block_size,
        ref_counts=blocks.pool.ref_counts.copy(),
        keeps_content=blocks.pool.keeps_content.copy(),
        request_ids=books.rows.request_ids[rows],
        num_tokens=books.rows.num_computed[rows],
        table_lens=blocks.num_blocks[rows],
        table_blocks=np.concatenate([_NO_BLOCKS, *(blocks.table(row) for row in rows.tolist())]),
    )


def _running(books: Books, rows: np.ndarray) -> tuple[RequestProgress, ...]:
    table = books.rows
    sequences = [table.sequence(row) for row in rows.tolist()]
    fields = (
        table.request_ids[rows].tolist(),
        [sequence.request.parent_id for sequence in sequences],
        [sequence.order for sequence in sequences],
        table.num_prompt[rows].tolist(),
        [sequence.num_cached_tokens for sequence in sequences],
        table.num_computed[rows].tolist(),
        (table.num_known[rows] - table.num_prompt[rows]).tolist(),
        (table.max_total[rows] - table.num_prompt[rows]).tolist(),
        [sequence.num_preemptions for sequence in sequences],
        books.blocks.num_blocks[rows].tolist(),
        [0] * len(rows),
    )
    return tuple(map(RequestProgress._make, zip(*fields, strict=True)))


def _waiting(books: Books, sequence: Sequence) -> RequestProgress:
    request = sequence.request
    swapped = books.swap_space.find(request.request_id)
    return RequestProgress(
        request_id=request.request_id,
        parent_id=request.parent_id,
        order=sequence.order,
        num_prompt_tokens=request.num_prompt_tokens,
        num_cached_tokens=sequence.num_cached_tokens,
        num_computed_tokens=0,
        num_generated_tokens=len(sequence.output_token_ids),
        max_tokens=request.max_tokens,
        num_preemptions=sequence.num_preemptions,
        num_blocks=0,
        num_host_blocks=0 if swapped is None else len(swapped.host_block_ids),
    )

"""The scheduler's state, and the moves that touch more than one part of it: a row is left, a request is preempted.

The phases of a step read the parts directly; whoever ends a row does it here, so that blocks, rows, forks and the
runner's rows never disagree.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pagednb.config import CacheGeometry, SchedulerConfig
from pagednb.kv_cache.block_manager import BlockManager
from pagednb.scheduler.preemption import LostTokens, PreemptionCosts
from pagednb.scheduler.row_checks import check_rows
from pagednb.scheduler.row_table import RowTable
from pagednb.scheduler.score_cache import ScoreCache
from pagednb.scheduler.sequence import Sequence
from pagednb.scheduler.stats import Counters, SlotUse
from pagednb.scheduler.swap_space import KeptBlocks, SwapSpace
from pagednb.scheduler.waiting_queue import WaitingQueue


class Books:
    """Who waits, who runs, who holds which blocks. ``costs`` may be replaced at any time between two plans."""

    def __init__(self, config: SchedulerConfig, geometry: CacheGeometry, counters: Counters) -> None:
        self.config = config
        self.rows = RowTable(config.max_num_seqs)
        self.blocks = BlockManager(geometry, config.max_num_seqs, enable_prefix_caching=config.enable_prefix_caching)
        self.scores = ScoreCache(geometry.block_size)
        self.waiting = WaitingQueue()
        self.swap_space = SwapSpace(geometry.num_host_blocks)
        self.costs = PreemptionCosts()
        self.lost_tokens = LostTokens()
        self.counters = counters
        self._released_rows: list[int] = []  # not yet told to the runner

    def order(self, row: int) -> tuple[int, int, int]:
        """Return the order of the row's owner: the least is served first."""
        return self.rows.sequence(row).order

    def has(self, request_id: int) -> bool:
        """Whether a request waits or runs."""
        return request_id in self.rows.row_of or request_id in self.waiting

    def enqueue(self, sequence: Sequence) -> None:
        """Let a new sequence wait: for its turn, or before that for the prompt that it will fork."""
        parent_id = sequence.request.parent_id
        if parent_id is not None and self._is_before_fork(parent_id):
            self.waiting.park(sequence, parent_id)
        else:
            self.waiting.push(sequence)

    def remove(self, request_ids: Iterable[int]) -> list[Sequence]:
        """Take requests out, wherever they are; ids that are not here are skipped."""
        removed = []
        for request_id in request_ids:
            row = self.rows.row_of.get(request_id)
            if row is not None:
                removed += self.leave([row])
            elif request_id in self.waiting:
                removed.append(self.waiting.remove(request_id))
                self.swap_space.drop(request_id)
                self.waiting.unpark(request_id)
        return removed

    def leave(self, rows: list[int]) -> list[Sequence]:
        """Free rows and their blocks; return the owners, their ``output_token_ids`` brought up to date.

        Results that are still in flight for the rows will be dropped.
        """
        if not rows:
            return []
        # in flight tokens have no name yet, and the last known token may have no KV
        num_written = np.minimum(self.rows.num_known[rows], self.rows.num_computed[rows]).tolist()
        sequences = self.rows.release(rows)
        for row, sequence, num_tokens in zip(rows, sequences, num_written, strict=True):
            if self.blocks.has_unnamed(sequence.block_digests, num_tokens):
                salt = sequence.request.cache_salt
                self.blocks.register_ended(row, sequence.block_digests, sequence.token_ids[:num_tokens], salt)
            self.waiting.unpark(sequence.request.request_id)
        self.blocks.release_rows(np.array(rows, dtype=np.int64))
        self._released_rows.extend(rows)
        return sequences

    def preempt(self, row: int) -> None:
        """Send a running request back to the queue; its blocks go to host memory, or it will compute them again.

        A token in flight is given up: its position is sampled again, with the same random numbers.
        """
        kept = self._kept_blocks(row)
        is_swapped = self._is_worth_swapping(kept)
        (sequence,) = self.leave([row])
        if is_swapped:
            self.swap_space.put(sequence.request.request_id, kept)
            self.counters.num_swaps += 1
            self.counters.num_blocks_swapped_out += len(kept.block_ids)
        sequence.num_preemptions += 1
        sequence.left_tokens = range(kept.first_column * self.blocks.block_size, kept.num_tokens)
        self.waiting.push(sequence)
        self.counters.num_preemptions += 1

    def take_back(self, sequence: Sequence, *, num_found: int, num_moved: int) -> None:
        """Free the host blocks of a request that takes a row, if it has any; ``num_moved`` of them are copied back.

        Its first ``num_found`` tokens were still in blocks.
        """
        if num_moved:
            self.swap_space.take(sequence.request.request_id)
            self.counters.num_blocks_swapped_in += num_moved
        else:
            self.swap_space.drop(sequence.request.request_id)
        left = sequence.left_tokens
        if left:
            self.lost_tokens.note(num_left=len(left), num_lost=len(range(max(left.start, num_found), left.stop)))
            sequence.left_tokens = range(0)

    def _kept_blocks(self, row: int) -> KeptBlocks:
        """Return what a row about to be preempted could take up again later.

        Its last known token is left out: it is computed again to sample what follows. So are prompt tokens that would
        bring scores still unknown, and all where sums over hidden states were begun.
        """
        sequence, rows, block_size = self.rows.sequence(row), self.rows, self.blocks.block_size
        num_tokens = min(int(rows.num_computed[row]), int(rows.num_known[row]) - 1)
        if sequence.wants_scores:
            num_tokens = min(num_tokens, sequence.num_scored - 1)
        if sequence.request.pooling in ("mean", "cls"):
            num_tokens = 0
        first_column = min(self.blocks.num_findable(row), num_tokens // block_size)
        block_ids = self.blocks.table(row)[first_column : self.blocks.blocks_for(num_tokens)]
        return KeptBlocks(num_tokens, first_column, block_ids)

    def _is_worth_swapping(self, kept: KeptBlocks) -> bool:
        num_blocks = len(kept.block_ids)
        if not 0 < num_blocks <= self.swap_space.pool.num_free:
            return False
        if self.config.preemption_mode == "swap":
            return True
        num_tokens = kept.num_tokens - kept.first_column * self.blocks.block_size
        lost_share = self.lost_tokens.share
        return self.costs.prefers_swap(num_blocks=num_blocks, num_tokens=num_tokens, lost_share=lost_share)

    def take_released_rows(self) -> np.ndarray:
        """Return rows left since the last call, int32: for a plan that will be executed."""
        rows = np.array(self._released_rows, dtype=np.int32)
        self._released_rows.clear()
        return rows

    def slot_use(self) -> SlotUse:
        """Return how full the blocks of running requests are."""
        block_size = self.blocks.block_size
        num_in_tables = int(self.blocks.num_blocks.sum()) * block_size
        # a block with an empty slot is never shared, so emptiness may be summed over rows
        num_empty = num_in_tables - int(self.rows.num_computed.sum())
        return SlotUse(num_in_tables, self.blocks.pool.num_used * block_size, num_empty)

    def _is_before_fork(self, parent_id: int) -> bool:
        row = self.rows.row_of.get(parent_id)
        return parent_id in self.waiting if row is None else row in self.rows.prefilling

    def check_integrity(self) -> None:
        """Raise AssertionError, with numbers, unless all parts agree."""
        check_rows(self.rows)
        self.blocks.check_integrity()
        self.waiting.check_integrity()
        self.swap_space.check_integrity(sequence.request.request_id for sequence in self.waiting)
        rows, blocks = self.rows, self.blocks
        both = [request_id for request_id in rows.row_of if request_id in self.waiting]
        assert not both, f"requests {both} wait and run"
        is_free = np.ones(len(rows.request_ids), dtype=np.bool_)
        is_free[list(rows.row_of.values())] = False
        assert not blocks.num_blocks[is_free].any(), "a free row holds blocks"
        short = np.flatnonzero(blocks.num_blocks * blocks.block_size < rows.num_computed)
        assert not len(short), f"rows {short} have more tokens than slots"
        unneeded = (blocks.num_blocks - 1) * blocks.block_size >= np.maximum(rows.num_computed, 1)
        assert not unneeded.any(), f"rows {np.flatnonzero(unneeded)} hold blocks without a token"
        assert len(set(self._released_rows)) == len(self._released_rows), f"released twice: {self._released_rows}"
        for row in np.flatnonzero(rows.is_decoding | rows.has_run).tolist():
            assert blocks.is_writable(row, int(rows.num_computed[row])), f"row {row} is about to write a shared block"

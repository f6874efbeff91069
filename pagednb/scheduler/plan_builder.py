"""Collects one step's plan while the phases decide; what cannot change between phases is checked here."""

from __future__ import annotations

import numpy as np

from pagednb.kv_cache.block_manager import GrownBlocks
from pagednb.scheduler.output import (
    EMPTY_ROWS,
    NO_GROWTH,
    NO_MOVES,
    Admission,
    BlockGrowth,
    PrefillChunk,
    SchedulerOutput,
)


class PlanBuilder:
    """A plan in the making. ``is_short_of_blocks`` is set by whoever ran out: nobody new is admitted then."""

    def __init__(self, step: int, token_budget: int) -> None:
        self.step = step
        self.num_tokens_left = token_budget
        self.is_short_of_blocks = False
        self._decode_rows = EMPTY_ROWS
        self._decode_request_ids = np.empty(0, dtype=np.int64)
        self._shared_prefix_lens: np.ndarray | None = None
        self._admissions: list[Admission] = []
        self._grown: list[GrownBlocks] = []
        self._block_copies: list[tuple[int, int]] = []
        self._swap_ins: list[np.ndarray] = []
        self._chunks: list[PrefillChunk] = []
        self._sampled_rows: list[int] = []
        self._sampled_request_ids: list[int] = []
        self._max_seq_len = 0
        self._num_decode_steps = 1
        self._decode_counts: np.ndarray | None = None

    def decode(
        self,
        rows: np.ndarray,
        request_ids: np.ndarray,
        *,
        max_seq_len: int,
        num_steps: int = 1,
        decode_counts: np.ndarray | None = None,
    ) -> None:
        """Let ``rows`` decode ``num_steps`` times, each as often as ``decode_counts`` says; called at most once, first.

        Arguments as in ``SchedulerOutput``.
        """
        assert not self._chunks and len(rows) <= self.num_tokens_left, f"{len(rows)} decodes exceed the token budget"
        self._decode_rows, self._decode_request_ids = rows, request_ids
        self._max_seq_len = max_seq_len
        self._num_decode_steps, self._decode_counts = num_steps, decode_counts
        self.num_tokens_left -= len(rows)

    @property
    def decode_rows(self) -> np.ndarray:
        """Rows that decode."""
        return self._decode_rows

    def share_prefix(self, shared_prefix_lens: np.ndarray | None) -> None:
        """Say how many leading tokens each decoding row shares with a group."""
        self._shared_prefix_lens = shared_prefix_lens

    def prefill(self, chunk: PrefillChunk, request_id: int) -> None:
        """Add a chunk."""
        num_tokens = len(chunk.token_ids)
        assert self._num_decode_steps == 1, "a prompt beside several decode steps"
        assert 0 < num_tokens <= self.num_tokens_left, f"chunk of {num_tokens}, {self.num_tokens_left} tokens left"
        self._chunks.append(chunk)
        if chunk.samples:
            self._sampled_rows.append(chunk.row)
            self._sampled_request_ids.append(request_id)
        self._max_seq_len = max(self._max_seq_len, chunk.start + num_tokens)
        self.num_tokens_left -= num_tokens

    def admit(self, admission: Admission) -> None:
        """Add an admission."""
        self._admissions.append(admission)

    def grow(self, grown: GrownBlocks) -> None:
        """Add new entries of block tables."""
        if len(grown.rows):
            self._grown.append(grown)

    def copy_block(self, source: int, destination: int) -> None:
        """Copy a block before the pass."""
        self._block_copies.append((source, destination))

    def swap_in(self, block_ids: np.ndarray, host_block_ids: np.ndarray) -> None:
        """Copy host blocks back before the pass."""
        self._swap_ins.append(np.stack([block_ids, host_block_ids], axis=1))

    @property
    def rows_ending_prefill(self) -> list[int]:
        """Rows whose last prefill chunk is in this plan."""
        return self._sampled_rows

    @property
    def is_empty(self) -> bool:
        """Whether no token is computed."""
        return not len(self._decode_rows) and not self._chunks

    def build(self, *, released_rows: np.ndarray = EMPTY_ROWS, swap_outs: np.ndarray = NO_MOVES) -> SchedulerOutput:
        """Return the plan. An empty one has no diff at all: nobody will execute it."""
        return SchedulerOutput(
            step=self.step,
            swap_outs=swap_outs,
            released_rows=released_rows,
            admissions=tuple(self._admissions),
            growth=self._packed_growth(),
            block_copies=tuple(self._block_copies),
            swap_ins=np.concatenate(self._swap_ins) if self._swap_ins else NO_MOVES,
            decode_rows=self._decode_rows,
            prefills=tuple(self._chunks),
            sampled_rows=_joined(self._decode_rows, self._sampled_rows, np.int32),
            sampled_request_ids=_joined(self._decode_request_ids, self._sampled_request_ids, np.int64),
            shared_prefix_lens=self._shared_prefix_lens,
            max_seq_len=self._max_seq_len,
            num_decode_steps=self._num_decode_steps,
            decode_counts=self._decode_counts,
        )

    def _packed_growth(self) -> BlockGrowth:
        if not self._grown:
            return NO_GROWTH
        rows, columns, block_ids = (np.concatenate(parts) for parts in zip(*self._grown, strict=True))
        return BlockGrowth(rows=rows, columns=columns, block_ids=block_ids)


def _joined(array: np.ndarray, more: list[int], dtype: type) -> np.ndarray:
    return np.concatenate([array, np.array(more, dtype=dtype)]) if more else array

"""KV blocks in host memory: where preempted requests leave theirs, taken in chunks when they are first needed.

The model runner calls it with the moves of a plan. All copies go to the engine's stream, in order, so that blocks can
be used again at once, on either side. Which host block belongs to whom is the scheduler's affair.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from pagednb.kv_cache.kv_store import KVStore
from pagednb.models.host_arena import host_arena
from pagednb.models.pinned_memory import pin
from pagednb.runner.timed_span import TimedSpan
from pagednb.sampling.transfer import to_device

CHUNK_BYTES = 64 * 2**20
"""Host memory taken at a time: what a few requests need, pinned within a step or two."""
STAGING_BYTES = 64 * 2**20
"""Of blocks that are gathered on the device before they leave it, or that arrive before they are spread."""


class HostKVStore:
    """``num_blocks`` blocks like those of ``kv_store``, each in one piece.

    On CUDA the memory is pinned, unless the system refuses: then copies are slower, and so are they measured.
    """

    def __init__(self, kv_store: KVStore, num_blocks: int, device: torch.device) -> None:
        self._kv_store = kv_store
        self._num_blocks = num_blocks
        self._device = device
        self._blocks_per_chunk = min(num_blocks, max(1, CHUNK_BYTES // kv_store.block_bytes))
        self._blocks_at_once = max(1, STAGING_BYTES // kv_store.block_bytes)
        self._chunks: list[torch.Tensor] = []

    @property
    def num_bytes(self) -> int:
        """Host memory taken so far."""
        return sum(chunk.nbytes for chunk in self._chunks)

    def swap_out(self, moves: np.ndarray) -> TimedSpan:
        """Copy blocks to host blocks: ``moves`` int32 ``[num_moves, 2]`` of (block, host block), these named once."""
        self._reserve(int(moves[:, 1].max()) + 1)
        with TimedSpan(self._device) as span:
            for block_ids, host_block_ids in self._batches(moves):
                staged = self._kv_store.gather_blocks(block_ids)
                for part, host_blocks in self._places(host_block_ids):
                    host_blocks.copy_(staged[part], non_blocking=True)
        return span

    def swap_in(self, moves: np.ndarray) -> TimedSpan:
        """Copy host blocks, written before, back to blocks: ``moves`` as in ``swap_out``, blocks named once."""
        with TimedSpan(self._device) as span:
            for block_ids, host_block_ids in self._batches(moves):
                staged = self._kv_store.new_blocks(len(block_ids))
                for part, host_blocks in self._places(host_block_ids):
                    staged[part].copy_(host_blocks, non_blocking=True)
                self._kv_store.scatter_blocks(block_ids, staged)
        return span

    def _reserve(self, num_blocks: int) -> None:
        """Take the memory of the first ``num_blocks``."""
        assert num_blocks <= self._num_blocks, f"{num_blocks} host blocks wanted of {self._num_blocks}"
        while len(self._chunks) * self._blocks_per_chunk < num_blocks:
            self._chunks.append(self._take_chunk())

    def _batches(self, moves: np.ndarray) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
        """Yield blocks, int64 on the device, and host blocks, as many as the staging memory holds."""
        block_ids = to_device({"block_ids": moves[:, 0].astype(np.int64)}, self._device)["block_ids"]
        for start in range(0, len(moves), self._blocks_at_once):
            stop = start + self._blocks_at_once
            yield block_ids[start:stop], moves[start:stop, 1]

    def _places(self, host_block_ids: np.ndarray) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield parts of ``host_block_ids`` that are neighbours in one chunk, and their memory."""
        is_first = np.diff(host_block_ids, prepend=-2) != 1
        starts = np.flatnonzero(is_first | (host_block_ids % self._blocks_per_chunk == 0)).tolist()
        for start, stop in zip(starts, [*starts[1:], len(host_block_ids)], strict=True):
            chunk, first = divmod(int(host_block_ids[start]), self._blocks_per_chunk)
            yield slice(start, stop), self._chunks[chunk][first : first + stop - start]

    def _take_chunk(self) -> torch.Tensor:
        memory = host_arena(self._blocks_per_chunk * self._kv_store.block_bytes)
        if self._device.type == "cuda":
            pin(memory, torch.cuda.current_stream(self._device), owner=self)
        return self._kv_store.blocks_in(memory)

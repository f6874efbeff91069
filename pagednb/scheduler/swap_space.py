"""Requests whose blocks wait in host memory, and the copies that bring them there.

Blocks are copied out at the beginning of the next plan that is executed, before anyone writes to them again, and back
when their request takes a row. In between only this file knows where they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pagednb.kv_cache.host_blocks import HostBlockPool
from pagednb.scheduler.output import NO_MOVES


class KeptBlocks(NamedTuple):
    """What a preempted row leaves that is worth moving: the KV of its first ``num_tokens`` tokens.

    ``block_ids``, int32, are those from ``first_column`` of its table on; the blocks before them stay on the device,
    where other rows hold them and the prefix cache finds them.
    """

    num_tokens: int
    first_column: int
    block_ids: np.ndarray


class SwappedBlocks(NamedTuple):
    """``KeptBlocks`` in host memory: block ``first_column + i`` of the table is ``host_block_ids[i]``, int32."""

    num_tokens: int
    first_column: int
    host_block_ids: np.ndarray


class SwapSpace:
    """Host memory for ``num_blocks`` blocks, and whose blocks are there."""

    def __init__(self, num_blocks: int) -> None:
        self.pool = HostBlockPool(num_blocks)
        self._swapped: dict[int, SwappedBlocks] = {}  # by request id
        self._outs: dict[int, np.ndarray] = {}  # not yet told to the runner

    @property
    def num_requests(self) -> int:
        """Requests whose blocks are here."""
        return len(self._swapped)

    def put(self, request_id: int, kept: KeptBlocks) -> None:
        """Move blocks of a request that loses its row; there is room for them."""
        assert request_id not in self._swapped, f"request {request_id} is swapped out already"
        host_block_ids = self.pool.allocate(len(kept.block_ids))
        self._swapped[request_id] = SwappedBlocks(kept.num_tokens, kept.first_column, host_block_ids)
        self._outs[request_id] = np.stack([kept.block_ids, host_block_ids], axis=1)

    def find(self, request_id: int) -> SwappedBlocks | None:
        """Return what a request has here."""
        return self._swapped.get(request_id)

    def take(self, request_id: int) -> None:
        """Free the blocks of a request that copies them back in the plan in the making.

        No block may be put in what is left of that plan: a plan copies out before it copies in.
        """
        self.pool.release(self._swapped.pop(request_id).host_block_ids)

    def drop(self, request_id: int) -> None:
        """Free the blocks of a request that needs them no more, if it has any."""
        if request_id in self._swapped:
            self._outs.pop(request_id, None)
            self.take(request_id)

    def take_outs(self) -> np.ndarray:
        """Return int32 ``[num_moves, 2]`` (block, host block) put since the last call, for a plan to be executed."""
        if not self._outs:
            return NO_MOVES
        outs = np.concatenate([*self._outs.values()])
        self._outs.clear()
        return outs

    def check_integrity(self, waiting: Iterable[int]) -> None:
        """Raise AssertionError unless all owners are among ``waiting`` and own every used block once."""
        strays = self._swapped.keys() - set(waiting)
        assert not strays, f"requests {strays} have blocks in host memory and do not wait"
        self.pool.check_integrity(swapped.host_block_ids for swapped in self._swapped.values())

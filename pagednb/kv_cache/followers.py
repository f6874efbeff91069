"""Which block came last after a prefix: a prompt that goes on alike for part of a block gets a copy of that block.

Full blocks are found by their digests. Prompts of one template part ways in the middle of a block; without a copy each
of them would compute again what it has in common with the others, half a block on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_MAX_FOLLOWERS = 1024  # places where prompts part ways; the one that was used longest ago is forgotten first


class Follower(NamedTuple):
    """A full block that others may find, and its tokens, int32 ``[block_size]``."""

    block_id: int
    token_ids: np.ndarray

    def num_common(self, token_ids: np.ndarray) -> int:
        """Return how many of ``token_ids``, at most a block, are this block's first ones."""
        is_equal = self.token_ids[: len(token_ids)] == token_ids
        return len(token_ids) if is_equal.all() else int(is_equal.argmin())


class Followers:
    """The last block computed after each prefix, which its digest names.

    What is noted in a step can be found from the next one on: copies are made before a pass, so their sources were
    written in an earlier one. A block that is used for something else is forgotten here.
    """

    def __init__(self) -> None:
        self._written: dict[bytes, Follower] = {}  # by prefix, in order of use
        self._prefix_of: dict[int, bytes] = {}  # of each follower's block
        self._new: dict[bytes, Follower] = {}

    def begin_step(self) -> None:
        """What was noted so far is written by now."""
        if not self._new:
            return
        for prefix, follower in self._new.items():
            self._drop(prefix)
            # a copy, for a prompt goes with its request
            self._written[prefix] = follower._replace(token_ids=follower.token_ids.copy())
            self._prefix_of[follower.block_id] = prefix
        self._new.clear()
        while len(self._written) > _MAX_FOLLOWERS:
            self._drop(next(iter(self._written)))

    def note(self, prefix: bytes, follower: Follower) -> None:
        """``follower`` is computed after ``prefix`` in this step."""
        self._new[prefix] = follower

    def find(self, prefix: bytes) -> Follower | None:
        """Return the block that came last after ``prefix`` and is written."""
        return self._written.get(prefix)

    def forget(self, block_ids: Sequence[int]) -> None:
        """The content of these blocks is lost; none of them was noted in this step."""
        for block_id in self._prefix_of.keys() & block_ids:
            self._drop(self._prefix_of[block_id])

    def clear(self) -> None:
        """Forget all."""
        self._written.clear()
        self._prefix_of.clear()
        self._new.clear()

    def _drop(self, prefix: bytes) -> None:
        follower = self._written.pop(prefix, None)
        if follower is not None:
            del self._prefix_of[follower.block_id]

    def check_integrity(self, named_blocks: set[int]) -> None:
        """Raise AssertionError unless all followers are blocks that have a name, each in one place."""
        places = {follower.block_id: prefix for prefix, follower in self._written.items()}
        assert places == self._prefix_of, f"followers {sorted(places)}, places of {sorted(self._prefix_of)}"
        blocks = {*places, *(follower.block_id for follower in self._new.values())}
        assert named_blocks.issuperset(blocks), f"followers {blocks - named_blocks} have no name"

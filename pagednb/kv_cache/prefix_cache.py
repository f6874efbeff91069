"""Names for the content of full blocks, so that equal prefixes share them.

A block's digest covers its tokens and, through its parent's digest, everything before it; a salt at the root keeps
tenants apart. The block manager asks and registers; when a block is reused the pool tells, and its name is forgotten.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_DIGEST_BYTES = 16
_UNKNOWN = -1  # in place of a block


class _Hashed(NamedTuple):
    """A sequence and its digests, which nobody changes any more."""

    salt: bytes
    data: bytes  # its tokens, int32, those of full blocks
    digests: tuple[bytes, ...]


class BlockHasher:
    """Computes digest chains; remembers the last sequence, since neighbours in a queue often share a long prefix.

    Safe to use from several threads: what is remembered is replaced as a whole.
    """

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._last = _Hashed(b"", b"", ())

    def extend(self, digests: list[bytes], token_ids: np.ndarray, salt: bytes) -> None:
        """Append the digests that ``digests`` lacks of the full blocks of ``token_ids`` int32 ``[num_tokens]``."""
        num_full = len(token_ids) // self._block_size
        if len(digests) >= num_full:
            return
        width = self._block_size * 4
        data = token_ids[: num_full * self._block_size].astype(np.int32, copy=False).tobytes()
        if not digests:
            digests += self._shared_with_last(data, salt)
        parent = digests[-1] if digests else root_digest(salt)
        for start in range(len(digests) * width, len(data), width):
            parent = _digest(parent + data[start : start + width])
            digests.append(parent)
        self._last = _Hashed(salt, data, tuple(digests))

    def _shared_with_last(self, data: bytes, salt: bytes) -> tuple[bytes, ...]:
        """Return the digests of the blocks that begin both this sequence and the last one."""
        last = self._last
        if salt != last.salt:
            return ()
        width = self._block_size * 4
        low, high = 0, min(len(data), len(last.data)) // width
        while low < high:  # the first ``low`` blocks are equal, more than ``high`` are not
            middle = (low + high + 1) // 2
            is_equal = last.data.startswith(data[: middle * width])
            low, high = (middle, high) if is_equal else (low, middle - 1)
        return last.digests[:low]


class PrefixCache:
    """Two maps, one the other's inverse: digest to block and block to digest."""

    def __init__(self) -> None:
        self._digest_to_block: dict[bytes, int] = {}
        self._block_to_digest: dict[int, bytes] = {}
        self._last_match: list[int] = []  # of digests up to _last_digest; empty once a name is forgotten
        self._last_digest = b""

    @property
    def block_ids(self) -> set[int]:
        """Blocks that have a name."""
        return set(self._block_to_digest)

    def match(self, digests: Sequence[bytes]) -> list[int]:
        """Return the blocks of the longest known prefix of ``digests``."""
        known = self._last_match
        # a digest stands for all before it too: neighbours in a queue often differ after the same prefix
        if not (known and len(digests) >= len(known) and self._last_digest == digests[len(known) - 1]):
            known = []
        if len(digests) == len(known) or digests[len(known)] not in self._digest_to_block:
            return known.copy()
        more = [*map(self._digest_to_block.get, digests[len(known) :], itertools.repeat(_UNKNOWN)), _UNKNOWN]
        block_ids = known + more[: more.index(_UNKNOWN)]
        self._last_match, self._last_digest = block_ids, digests[len(block_ids) - 1]
        return block_ids.copy()

    def register(self, block_ids: Sequence[int], digests: Sequence[bytes]) -> list[int]:
        """Name blocks and return those named now; whichever block and digest is taken already stays as it is."""
        if self._digest_to_block.keys().isdisjoint(digests) and self._block_to_digest.keys().isdisjoint(block_ids):
            self._digest_to_block.update(zip(digests, block_ids, strict=True))
            self._block_to_digest.update(zip(block_ids, digests, strict=True))
            return list(block_ids)
        named = []
        for block_id, digest in zip(block_ids, digests, strict=True):
            if digest not in self._digest_to_block and block_id not in self._block_to_digest:
                self._digest_to_block[digest] = block_id
                self._block_to_digest[block_id] = digest
                named.append(block_id)
        return named

    def forget(self, block_ids: Sequence[int]) -> None:
        """Take the names away from blocks that have one."""
        if block_ids:
            self._last_match = []
        for digest in list(map(self._block_to_digest.pop, block_ids)):
            del self._digest_to_block[digest]

    def clear(self) -> None:
        """Forget all names."""
        self._last_match = []
        self._digest_to_block.clear()
        self._block_to_digest.clear()

    def check_integrity(self) -> None:
        """Raise AssertionError unless the maps are inverse to each other."""
        inverse = {block_id: digest for digest, block_id in self._digest_to_block.items()}
        assert inverse == self._block_to_digest, f"{len(inverse)} digests, {len(self._block_to_digest)} named blocks"
        assert len(inverse) == len(self._digest_to_block), "two digests name one block"


@functools.lru_cache(maxsize=64)
def root_digest(salt: bytes) -> bytes:
    """Return what stands for no block at all: the parent of first blocks."""
    return _digest(salt)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()

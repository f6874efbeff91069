"""Prefix cache: which full block holds which tokens, found by a chain of hashes.

A block's digest covers its own tokens and the digest before it, so equal digests mean equal prefixes. Maps digests to
blocks and back; who may use or evict a block is the pool's affair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

DIGEST_BYTES = 16


def extend_digests(
    digests: Sequence[bytes], token_ids: np.ndarray, *, block_size: int, salt: bytes = b""
) -> list[bytes]:
    """Return the digests of all full blocks of ``token_ids`` int32; ``digests`` are those already known."""
    chain = list(digests)
    parent = chain[-1] if chain else _digest(salt)
    for index in range(len(chain), len(token_ids) // block_size):
        tokens = token_ids[index * block_size : (index + 1) * block_size]
        parent = _digest(parent + tokens.tobytes())
        chain.append(parent)
    return chain


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


class PrefixCache:
    """Digest <-> block, one to one."""

    def __init__(self) -> None:
        self._digest_to_block: dict[bytes, int] = {}
        self._block_to_digest: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._digest_to_block)

    def __contains__(self, block: int) -> bool:
        return block in self._block_to_digest

    def match(self, digests: Sequence[bytes]) -> list[int]:
        """Return the blocks of the longest known prefix of ``digests``."""
        blocks: list[int] = []
        for digest in digests:
            block = self._digest_to_block.get(digest)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def insert(self, digest: bytes, block: int) -> None:
        """Remember that ``block`` holds the prefix ``digest``; the first block to hold it keeps the name."""
        if digest not in self._digest_to_block and block not in self._block_to_digest:
            self._digest_to_block[digest] = block
            self._block_to_digest[block] = digest

    def forget(self, block: int) -> None:
        """Drop what ``block`` is known to hold."""
        del self._digest_to_block[self._block_to_digest.pop(block)]

    def check_integrity(self) -> None:
        """Raise AssertionError unless both maps are inverses of each other."""
        inverse = {digest: block for block, digest in self._block_to_digest.items()}
        assert inverse == self._digest_to_block, f"{len(inverse)} blocks, {len(self._digest_to_block)} digests"

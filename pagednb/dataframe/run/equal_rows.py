"""Rows with equal prompts: the first is computed, the others wait for it. Knows prompts by their digests only."""

from __future__ import annotations

import hashlib


class EqualRows:
    """Which rows have the same prompt as an earlier one."""

    def __init__(self) -> None:
        self._digest_to_first: dict[bytes, int] = {}
        self._first_to_followers: dict[int, list[int]] = {}

    def first_of(self, position: int, text: str) -> int | None:
        """Return the earlier row with this prompt; None if this is the first one.

        While the earlier row is not settled, this one is noted among those that wait for it.
        """
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        first = self._digest_to_first.setdefault(digest, position)
        if first == position:
            self._first_to_followers[position] = []
            return None
        if first in self._first_to_followers:
            self._first_to_followers[first].append(position)
        return first

    def is_settled(self, first: int) -> bool:
        """Whether a first row has its result."""
        return first not in self._first_to_followers

    def settle(self, position: int) -> list[int]:
        """Note that a row has its result; return the rows that waited for it."""
        return self._first_to_followers.pop(position, [])

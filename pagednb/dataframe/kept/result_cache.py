"""Answers that were computed before: in the kernel's memory, or in a file that outlives it.

Only answers that equal prompts may share are kept. The key names everything an answer depends on, so nothing ever has
to be removed for being wrong. The row job asks before it submits a row. Knows no engine and no pandas.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import numpy as np

MAX_MEMORY_BYTES = 256 * 2**20
_BETWEEN_PROMPTS = (-1).to_bytes(4, "little", signed=True)  # no token
_ENTRY_BYTES = 200
"""What an entry costs beside its answer: key, two objects, a place in the table."""


class ResultCache(Protocol):
    """Answers by key. Safe to use from several threads."""

    def get(self, key: bytes) -> bytes | None:
        """Return the answer, or None."""

    def put(self, key: bytes, answer: bytes) -> None:
        """Keep an answer."""


def answer_key(prompts: Sequence[np.ndarray], *, model: str, task: str) -> bytes:
    """Return 32 bytes that differ whenever the prompts' tokens (integers ``[num_tokens]`` each), model or task do."""
    digest = hashlib.sha256()
    for text in (model, task):
        data = text.encode("utf-8", errors="surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))  # so that no two pairs of texts run together alike
        digest.update(data)
    for index, token_ids in enumerate(prompts):
        digest.update(_BETWEEN_PROMPTS if index else b"")
        digest.update(np.ascontiguousarray(token_ids, dtype="<i4").tobytes())
    return digest.digest()


class MemoryCache:
    """The answers used last, up to ``max_bytes``.

    A run makes room among the answers of earlier runs only, and what does not fit then is not kept. If it pushed out
    its own first answers for its last ones, the same run again would push out each answer just before it comes to it.
    """

    def __init__(self, max_bytes: int = MAX_MEMORY_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._key_to_entry: OrderedDict[bytes, tuple[bytes, int]] = OrderedDict()  # answer, run that used it last
        self._num_bytes = 0
        self._run = 0

    @property
    def num_bytes(self) -> int:
        """Estimated size of all entries."""
        return self._num_bytes

    def __len__(self) -> int:
        return len(self._key_to_entry)

    def begin_run(self) -> None:
        """Let what was kept so far make room for what comes."""
        with self._lock:
            self._run += 1

    def get(self, key: bytes) -> bytes | None:
        """Return the answer, or None."""
        with self._lock:
            entry = self._key_to_entry.pop(key, None)
            if entry is None:
                return None
            answer, _ = entry
            self._key_to_entry[key] = answer, self._run
            return answer

    def put(self, key: bytes, answer: bytes) -> None:
        """Keep an answer if there is room, or earlier runs' answers that were not used for longest can make some."""
        with self._lock:
            previous = self._key_to_entry.pop(key, None)
            self._num_bytes += _size(answer) - (0 if previous is None else _size(previous[0]))
            self._key_to_entry[key] = answer, self._run
            while self._num_bytes > self._max_bytes:
                _, run_of_oldest = next(iter(self._key_to_entry.values()))
                forgotten, _ = self._key_to_entry.popitem(last=run_of_oldest == self._run)[1]
                self._num_bytes -= _size(forgotten)


def _size(answer: bytes) -> int:
    return len(answer) + _ENTRY_BYTES

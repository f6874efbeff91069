"""Reads stored tensors into their final place, by several threads at once, while the caller does something else.

Where stored bytes may land directly they do; else they pass through one buffer a thread, pinned for a GPU: at most
``_MAX_READERS`` of ``_BUFFER_BYTES`` (or of one row, where that is more), given back at the end.
"""

from __future__ import annotations

import collections
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch

from pagednb.models.stored_tensor import StoredTensor

# measured with files in the page cache of a machine with 16 cores and an H200: 1, 2, 4, 8, 12, 16 readers bring
# 9, 17, 35, 51, 45, 47 GB/s; buffers of 2, 4, 8, 16, 32 MiB bring 15, 29, 47, 51, 39
_MAX_READERS = 8
_BUFFER_BYTES = 16 * 2**20


class Piece(NamedTuple):
    """Rows ``start : stop`` of a stored tensor, and where they go: the same shape, any dtype, device and strides."""

    stored: StoredTensor
    start: int
    stop: int
    destination: torch.Tensor

    @property
    def num_bytes(self) -> int:
        """Stored size."""
        return (self.stop - self.start) * self.stored.row_bytes

    @property
    def is_direct(self) -> bool:
        """Whether the destination's bytes are the stored ones."""
        there = self.destination
        return there.device.type == "cpu" and there.dtype == self.stored.dtype and there.is_contiguous()


def cut(stored: StoredTensor, destination: torch.Tensor) -> Iterator[Piece]:
    """Cut the copy of ``stored`` into ``destination`` into pieces that fit a buffer, or of one row."""
    num_rows = max(1, _BUFFER_BYTES // stored.row_bytes)
    for start in range(0, stored.shape[0], num_rows):
        stop = min(start + num_rows, stored.shape[0])
        yield Piece(stored, start, stop, destination[start:stop])


@contextlib.contextmanager
def reading(pieces: Sequence[Piece], device: torch.device, report: Callable[[int, int], None]) -> Iterator[None]:
    """Read the pieces, all for ``device``, while the block runs; at its end they have arrived.

    ``report`` gets the bytes read so far and their total, in any thread, one call at a time. On a GPU the copies run on
    a stream of their own. However the block ends, no thread stays behind.

    Raises:
        WeightError: a file ended early. It is raised at the end of the block, as is whatever ``report`` raises.
    """
    num_readers = min(_MAX_READERS, os.cpu_count() or 1)
    stream = None
    if device.type == "cuda":
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))  # on which the destinations were allocated
    work = _Work(pieces, stream, report)
    pool = ThreadPoolExecutor(num_readers, thread_name_prefix="pagednb-read")
    try:
        readers = [pool.submit(work.read_all) for _ in range(num_readers)]
        yield
        for reader in readers:
            reader.result()
    finally:
        work.stop()
        pool.shutdown()
        if stream is not None:
            stream.synchronize()
            torch._C._host_emptyCache()


class _Work:
    """The pieces that are left to read. Its methods may run in any thread."""

    def __init__(
        self, pieces: Sequence[Piece], stream: torch.cuda.Stream | None, report: Callable[[int, int], None]
    ) -> None:
        self._left = collections.deque(pieces)
        self._stream = stream
        self._buffer_bytes = max((piece.num_bytes for piece in pieces if not piece.is_direct), default=0)
        self._report = report
        self._reporting = threading.Lock()
        self._num_done = 0
        self._num_total = sum(piece.num_bytes for piece in pieces)

    def stop(self) -> None:
        """Let the readers end after the piece that they are at."""
        self._left.clear()

    def read_all(self) -> None:
        """Read pieces until none is left. After an error of one reader the others stop."""
        lane = _Lane(self._buffer_bytes, self._stream)
        try:
            with torch.inference_mode():
                while (piece := self._next()) is not None:
                    lane.read(piece)
                    self._count(piece)
        except BaseException:
            self.stop()
            raise

    def _next(self) -> Piece | None:
        try:
            return self._left.popleft()
        except IndexError:
            return None

    def _count(self, piece: Piece) -> None:
        with self._reporting:
            self._num_done += piece.num_bytes
            self._report(self._num_done, self._num_total)


class _Lane:
    """One reader's buffer, and the copy that may still be reading it."""

    def __init__(self, buffer_bytes: int, stream: torch.cuda.Stream | None) -> None:
        self._stream = stream
        self._buffer = torch.empty(buffer_bytes, dtype=torch.uint8, pin_memory=stream is not None)
        self._copied = None if stream is None else torch.cuda.Event(blocking=True)

    def read(self, piece: Piece) -> None:
        """Read one piece; on a GPU its copy is queued."""
        if piece.is_direct:
            piece.stored.read_rows(piece.start, piece.stop, piece.destination)
            return
        if self._copied is not None:
            self._copied.synchronize()
        buffer = self._buffer[: piece.num_bytes].view(piece.stored.dtype)
        rows = buffer.view(piece.stop - piece.start, *piece.stored.shape[1:])
        piece.stored.read_rows(piece.start, piece.stop, rows)
        with contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            piece.destination.copy_(rows, non_blocking=True)
        if self._copied is not None:
            self._copied.record(self._stream)

"""Reads stored tensors into their final place: directly where bytes may land there, else through a small buffer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from pagednb.models.stored_tensor import StoredTensor

_BUFFER_BYTES = 32 * 2**20
_NUM_BUFFERS = 2


class Staging:
    """Buffers in host memory, pinned for a GPU, lent in turn: one is filled while the other is copied from.

    One thread uses one Staging.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.current_stream(device) if device.type == "cuda" else None
        is_pinned = self._stream is not None
        self._buffers = [
            torch.empty(_BUFFER_BYTES, dtype=torch.uint8, pin_memory=is_pinned) for _ in range(_NUM_BUFFERS)
        ]
        self._copied: list[torch.cuda.Event | None] = [None] * _NUM_BUFFERS
        self._turn = 0

    def fill(self, destination: torch.Tensor, stored: StoredTensor) -> Iterator[int]:
        """Copy ``stored`` into ``destination`` (same shape, any dtype and strides), yielding the bytes read so far.

        On a GPU the copies are queued on the current stream; ``finish`` waits for them.
        """
        is_direct = destination.device.type == "cpu" and destination.dtype == stored.dtype
        if is_direct and destination.is_contiguous():
            stored.read_rows(0, stored.shape[0], destination)
            yield stored.num_bytes
            return
        rows = max(1, _BUFFER_BYTES // stored.row_bytes)
        for start in range(0, stored.shape[0], rows):
            stop = min(start + rows, stored.shape[0])
            with self._lend((stop - start) * stored.row_bytes) as buffer:
                piece = buffer.view(stored.dtype).view(stop - start, *stored.shape[1:])
                stored.read_rows(start, stop, piece)
                destination[start:stop].copy_(piece, non_blocking=True)
            yield stop * stored.row_bytes

    def finish(self) -> None:
        """Wait until every queued copy has arrived."""
        if self._stream is not None:
            self._stream.synchronize()

    @contextlib.contextmanager
    def _lend(self, num_bytes: int) -> Iterator[torch.Tensor]:
        """Give a buffer that no copy reads any more; the copy queued inside the block is waited for before reuse."""
        turn, self._turn = self._turn, (self._turn + 1) % _NUM_BUFFERS
        pending = self._copied[turn]
        if pending is not None:
            pending.synchronize()
        assert num_bytes <= _BUFFER_BYTES, num_bytes
        yield self._buffers[turn][:num_bytes]
        if self._stream is not None:
            self._copied[turn] = self._stream.record_event()

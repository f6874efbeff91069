"""A model's weights in host memory, while its engine sleeps: a checkpoint file without a disk.

``runner/sleeper.py`` takes them from a model before that is given up; ``load.py`` reads the next one from them, through
the same staging buffers as from any file. The memory is plain, not pinned: pinning costs more than the copy does and
takes the memory from every other process, while the staging buffers bring the weights back as fast as PCIe is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from pagednb.models.host_arena import host_arena
from pagednb.models.stored_tensor import StoredTensor

_ALIGNMENT = 64
_NUM_THREADS = 8  # as many as read best, see ``staging``
_BUFFER_BYTES = 16 * 2**20


class KeptWeights:
    """Tensors by the names of ``parameters.py``. What was in host memory before is kept as it lies there.

    Attributes:
        tensors: each as it is stored here.
        num_bytes: host memory of all of them; ``num_copied_bytes`` of it were taken to keep them.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], *, num_copied_bytes: int = 0) -> None:
        self._host = dict(tensors)
        self.num_copied_bytes = num_copied_bytes
        self.num_bytes = sum(tensor.nbytes for tensor in self._host.values())
        self.tensors = {
            name: StoredTensor(name=name, file=self, dtype=tensor.dtype, shape=tuple(tensor.shape))
            for name, tensor in self._host.items()
        }

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> KeptWeights:
        """Copy those of ``tensors`` that are on a GPU to the host, by several threads; their values must stand."""
        away = {name: tensor for name, tensor in tensors.items() if tensor.device.type != "cpu"}
        copies = _host_tensors(away)
        _fetch([(tensor, copies[name]) for name, tensor in away.items()])
        return cls({**tensors, **copies}, num_copied_bytes=sum(tensor.nbytes for tensor in copies.values()))

    def lying_on(self, device: torch.device) -> dict[str, torch.Tensor]:
        """Return the tensors that need not be copied to be used on ``device``."""
        return {name: tensor for name, tensor in self._host.items() if tensor.device == device}

    def memory_of(self, name: str) -> torch.Tensor:
        """Return the whole piece of host memory in which a tensor lies, uint8, not copied."""
        return torch.empty(0, dtype=torch.uint8).set_(self._host[name].untyped_storage())

    def num_bytes_to_copy(self, device: torch.device) -> int:
        """Return the size of the others."""
        return sum(tensor.nbytes for tensor in self._host.values() if tensor.device != device)

    def read_rows(self, stored: StoredTensor, start: int, stop: int, out: torch.Tensor) -> None:
        """See ``StoredTensor.read_rows``."""
        # not torch's copy: that would start threads of its own below each reader
        np.copyto(_as_bytes(out), _as_bytes(self._host[stored.name][start:stop]))

    def close(self) -> None:
        """Let go of the tensors. Whoever only forgets this object leaves them to the garbage collector."""
        self._host.clear()


class _Piece(NamedTuple):
    """Bytes on a GPU and where they go."""

    source: torch.Tensor  # [num_bytes], uint8
    target: np.ndarray  # [num_bytes], uint8


def _fetch(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Copy each first tensor, on a GPU, into the second, in plain host memory."""
    pieces = [piece for source, target in pairs for piece in _cut(source, target)]
    if not pieces:
        return
    device = pieces[0].source.device
    num_threads = min(_NUM_THREADS, os.cpu_count() or 1)
    left = iter(pieces)  # threads share it: taking the next one is atomic
    with ThreadPoolExecutor(num_threads, thread_name_prefix="pagednb-keep") as pool:
        for fetched in [pool.submit(_fetch_all, left, device) for _ in range(num_threads)]:
            fetched.result()
    torch._C._host_emptyCache()


def _cut(source: torch.Tensor, target: torch.Tensor) -> Iterator[_Piece]:
    from_bytes, to_bytes = source.flatten().view(torch.uint8), _as_bytes(target)
    for start in range(0, len(to_bytes), _BUFFER_BYTES):
        yield _Piece(from_bytes[start : start + _BUFFER_BYTES], to_bytes[start : start + _BUFFER_BYTES])


def _fetch_all(left: Iterator[_Piece], device: torch.device) -> None:
    """Fetch pieces until none is left: while one thread's copy crosses the bus, others empty their buffers."""
    stream = torch.cuda.Stream(device)
    with torch.inference_mode(), torch.cuda.stream(stream):
        buffer = torch.empty(_BUFFER_BYTES, dtype=torch.uint8, pin_memory=True)
        for source, target in left:
            part = buffer[: len(target)]
            part.copy_(source, non_blocking=True)
            stream.synchronize()
            np.copyto(target, part.numpy())


def _host_tensors(like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return host memory for tensors of these shapes, in one piece."""
    sizes = {name: math.ceil(tensor.nbytes / _ALIGNMENT) * _ALIGNMENT for name, tensor in like.items()}
    arena = host_arena(sum(sizes.values()))
    parts = zip(like.items(), arena.split(list(sizes.values())), strict=True)
    return {name: part[: tensor.nbytes].view(tensor.dtype).view(tensor.shape) for (name, tensor), part in parts}


def _as_bytes(tensor: torch.Tensor) -> np.ndarray:
    """Return the bytes of a contiguous host tensor, not copied."""
    array: np.ndarray = tensor.flatten().view(torch.uint8).numpy()
    return array

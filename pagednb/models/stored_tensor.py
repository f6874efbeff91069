"""A tensor as it lies in a checkpoint file, and the files that can hold it: safetensors, and torch's pickles."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from pagednb.errors import ModelLoadError, WeightError

_SAFETENSORS_DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
_LENGTH_BYTES = 8
_REFETCH = "Fetch the file again."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Where a tensor is stored, and as what."""

    name: str
    file: CheckpointFile
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Stored size."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def row_bytes(self) -> int:
        """Stored size of one row: of one index of dimension 0."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def read_rows(self, start: int, stop: int, out: torch.Tensor) -> None:
        """Copy rows ``start:stop`` into ``out``, contiguous on the CPU, of the stored dtype. May run in any thread."""
        assert out.dtype == self.dtype and out.shape == (stop - start, *self.shape[1:]) and out.is_contiguous()
        self.file.read_rows(self, start, stop, out)


class CheckpointFile(Protocol):
    """An open file with tensors."""

    @property
    def tensors(self) -> Mapping[str, StoredTensor]:
        """What the file holds, by name, in the order in which it lies there."""
        ...

    def read_rows(self, stored: StoredTensor, start: int, stop: int, out: torch.Tensor) -> None:
        """See ``StoredTensor.read_rows``."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class SafetensorsFile:
    """Eight bytes with the header's length, a JSON header, then the data back to back.

    Raises:
        WeightError: the header is broken, or the file is shorter or longer than its header says.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            header, self._data_start = self._read_header()
            self._offsets = {name: entry["data_offsets"][0] for name, entry in header.items()}
            names = sorted(header, key=self._offsets.__getitem__)
            self.tensors = {name: self._describe(name, header[name]) for name in names}
            self._check_size(header)
        except BaseException:
            self.close()
            raise

    def read_rows(self, stored: StoredTensor, start: int, stop: int, out: torch.Tensor) -> None:
        """See ``StoredTensor.read_rows``."""
        target = out.flatten().view(torch.uint8).numpy().data
        position = self._data_start + self._offsets[stored.name] + start * stored.row_bytes
        while target:
            num_read = os.preadv(self._fd, [target], position)
            if num_read == 0:
                raise WeightError(f"{self._path} ended while {stored.name!r} was read.", hint=_REFETCH)
            target, position = target[num_read:], position + num_read

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def _read_header(self) -> tuple[dict[str, Any], int]:
        size = os.fstat(self._fd).st_size
        length = int.from_bytes(os.pread(self._fd, _LENGTH_BYTES, 0), "little")
        if size < _LENGTH_BYTES or length > size - _LENGTH_BYTES:
            raise WeightError(f"{self._path} is truncated: {size} bytes do not hold its header.", hint=_REFETCH)
        try:
            header = json.loads(os.pread(self._fd, length, _LENGTH_BYTES))
        except ValueError as error:
            raise WeightError(f"{self._path} is not a safetensors file: {error}.", hint=_REFETCH) from error
        if not isinstance(header, dict):
            raise WeightError(f"{self._path} is not a safetensors file.", hint=_REFETCH)
        header.pop("__metadata__", None)
        for name, entry in header.items():
            if not _is_entry(entry):
                raise WeightError(f"{self._path} is not a safetensors file: {name!r} is no tensor.", hint=_REFETCH)
        return header, _LENGTH_BYTES + length

    def _describe(self, name: str, entry: Mapping[str, Any]) -> StoredTensor:
        dtype = _SAFETENSORS_DTYPES.get(entry["dtype"])
        if dtype is None:
            raise WeightError(f"Tensor {name!r} in {self._path} has the unknown dtype {entry['dtype']!r}.")
        stored = StoredTensor(name=name, file=self, dtype=dtype, shape=tuple(entry["shape"]))
        start, stop = entry["data_offsets"]
        if stop - start != stored.num_bytes:
            raise WeightError(
                f"Tensor {name!r} in {self._path}: shape {list(stored.shape)} of {entry['dtype']} needs "
                f"{stored.num_bytes} bytes, its header gives {stop - start}.",
                hint=_REFETCH,
            )
        return stored

    def _check_size(self, header: Mapping[str, Any]) -> None:
        size = os.fstat(self._fd).st_size
        expected = self._data_start + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if size != expected:
            state = "truncated" if size < expected else "longer than it should be"
            raise WeightError(f"{self._path} is {state}: {size} bytes, its header says {expected}.", hint=_REFETCH)


def _is_entry(entry: Any) -> bool:
    """Whether ``entry`` has the form in which a safetensors header describes a tensor."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        return False
    return all(isinstance(number, int) and number >= 0 for number in (*shape, *offsets))


class PickleFile:
    """A state dict saved by ``torch.save``: read with ``weights_only=True``, mapped from disk where its format allows.

    Raises:
        WeightError: the file is truncated, or holds anything but named tensors.
    """

    def __init__(self, path: pathlib.Path) -> None:
        # the format before torch 1.6 is no zip file and cannot be mapped
        is_zip = zipfile.is_zipfile(path)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
        except pickle.UnpicklingError as error:
            raise WeightError(
                f"{path} holds more than tensors, and such pickles can run code.",
                hint="Convert it to safetensors where you trust it.",
            ) from error
        except (RuntimeError, EOFError, OSError) as error:
            raise WeightError(f"{path} is truncated or broken: {error}", hint=_REFETCH) from error
        if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
            raise WeightError(f"{path} holds something other than named tensors.", hint="Save a plain state dict.")
        self._state: dict[str, torch.Tensor] = state
        self.tensors = {
            name: StoredTensor(name=name, file=self, dtype=tensor.dtype, shape=tuple(tensor.shape))
            for name, tensor in state.items()
        }

    def read_rows(self, stored: StoredTensor, start: int, stop: int, out: torch.Tensor) -> None:
        """See ``StoredTensor.read_rows``."""
        out.copy_(self._state[stored.name][start:stop])

    def close(self) -> None:
        """Let go of the file."""
        self._state = {}


def open_file(path: pathlib.Path) -> CheckpointFile:
    """Open a checkpoint file by its suffix.

    Raises:
        ModelLoadError: there is no such file.
        WeightError: its content is broken.
    """
    if not path.is_file():
        raise ModelLoadError(f"The weight file {path} does not exist.", hint=_REFETCH)
    return SafetensorsFile(path) if path.suffix == ".safetensors" else PickleFile(path)

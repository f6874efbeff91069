"""The tensors of one decoder layer in one piece of memory, so that a single copy moves a whole layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from pagednb.models.parameters import ParameterSlot

_ALIGNMENT = 512  # bytes, as torch aligns tensors: products choose their kernels by it


class LayerLayout:
    """Where each tensor of a layer lies. All layers of a decoder are laid out alike.

    Attributes:
        num_bytes: size of the piece of memory.
        weight_bytes: size of the tensors in it; the rest is padding.
    """

    def __init__(self, slots: Sequence[ParameterSlot], dtype: torch.dtype) -> None:
        """``slots`` are those of one layer, any."""
        self._slots = tuple(slots)
        self._dtype = dtype
        sizes = [math.prod(slot.shape) * dtype.itemsize for slot in slots]
        self._padded = [-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes]
        self.weight_bytes = sum(sizes)
        self.num_bytes = sum(self._padded)

    def first_name(self, layer: int) -> str:
        """Return the full name of the tensor that lies first."""
        return self._slots[0].of_layer(layer).name

    def views(self, memory: torch.Tensor, layer: int) -> Iterator[tuple[str, torch.Tensor]]:
        """Give the tensors of ``layer``, by full name, as views of ``memory``: ``[num_bytes]``, uint8, any device."""
        for slot, piece in zip(self._slots, memory.split(self._padded), strict=True):
            flat = piece.view(self._dtype)[: math.prod(slot.shape)]
            yield slot.of_layer(layer).name, flat.view(slot.shape)

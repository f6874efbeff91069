"""The tensors of the paged KV cache: one allocation, one view per layer.

The runner owns the store and attention writes and reads it; which block belongs to whom is the block manager's affair.
"""

from __future__ import annotations

import torch

from pagednb.config import CacheGeometry

_COPY_BYTES = 64 * 2**20
"""Of blocks in one copy: they lie in memory of their own in between."""


class KVStore:
    """Keys and values of all layers, ``[num_layers, 2, num_blocks, num_kv_heads, block_size, head_dim]``.

    Block 0 is scratch. Starts as zeros: a block's unused tail is multiplied by attention weights of zero, and
    uninitialised memory could hold NaN.
    """

    def __init__(
        self,
        num_layers: int,
        num_kv_heads: int,
        head_dim: int,
        geometry: CacheGeometry,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (num_layers, 2, geometry.num_blocks, num_kv_heads, geometry.block_size, head_dim)
        self._kv = torch.zeros(shape, dtype=dtype, device=device)
        self._layers = tuple((layer[0], layer[1]) for layer in self._kv.unbind(0))
        # whole blocks are moved in words, whatever they hold: [num_blocks, num_layers, 2, words]
        self._words = self._kv.flatten(3).view(torch.int64).movedim(2, 0)

    @staticmethod
    def bytes_per_block(
        *, num_layers: int, num_kv_heads: int, head_dim: int, block_size: int, dtype: torch.dtype
    ) -> int:
        """Memory that one block takes over all layers."""
        return num_layers * 2 * num_kv_heads * block_size * head_dim * dtype.itemsize

    @property
    def block_bytes(self) -> int:
        """Size of a block over all layers."""
        return self._words[0].nbytes

    @property
    def num_bytes(self) -> int:
        """Size of the allocation."""
        return self._kv.nbytes

    def layer(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``(k_cache, v_cache)``, each ``[num_blocks, num_kv_heads, block_size, head_dim]``."""
        return self._layers[index]

    def new_blocks(self, num_blocks: int) -> torch.Tensor:
        """Return memory for ``num_blocks`` whole blocks, one after the other, on the same device."""
        return torch.empty((num_blocks, *self._words.shape[1:]), dtype=torch.int64, device=self._kv.device)

    def blocks_in(self, memory: torch.Tensor) -> torch.Tensor:
        """Return ``memory``, uint8 and as long as some blocks, on any device, as ``new_blocks`` lays them out."""
        return memory.view(torch.int64).view(-1, *self._words.shape[1:])

    def gather_blocks(self, block_ids: torch.Tensor) -> torch.Tensor:
        """Return copies of blocks, laid out as ``new_blocks``; ``block_ids`` int64 ``[num_blocks]`` on the device."""
        return self._words.index_select(0, block_ids)

    def scatter_blocks(self, block_ids: torch.Tensor, blocks: torch.Tensor) -> None:
        """Write what ``gather_blocks`` returns; a block is named once."""
        self._words[block_ids] = blocks

    def copy_blocks(self, pairs: torch.Tensor) -> None:
        """Copy blocks in every layer: ``pairs`` int64 ``[num_copies, 2]`` of source and destination, on the device.

        All sources are read before any destination is written; a destination is named once.
        """
        sources, destinations = pairs.unbind(1)
        layer_bytes = len(pairs) * self._kv[0, :, 0].nbytes
        for layers in self._kv.split(max(1, _COPY_BYTES // layer_bytes)):
            layers[:, :, destinations] = layers[:, :, sources]

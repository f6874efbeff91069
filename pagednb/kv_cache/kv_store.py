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

    @staticmethod
    def bytes_per_block(
        *, num_layers: int, num_kv_heads: int, head_dim: int, block_size: int, dtype: torch.dtype
    ) -> int:
        """Memory that one block takes over all layers."""
        return num_layers * 2 * num_kv_heads * block_size * head_dim * dtype.itemsize

    @property
    def num_bytes(self) -> int:
        """Size of the allocation."""
        return self._kv.nbytes

    def layer(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``(k_cache, v_cache)``, each ``[num_blocks, num_kv_heads, block_size, head_dim]``."""
        return self._layers[index]

    def copy_blocks(self, pairs: torch.Tensor) -> None:
        """Copy blocks in every layer: ``pairs`` int64 ``[num_copies, 2]`` of source and destination, on the device.

        All sources are read before any destination is written; a destination is named once.
        """
        sources, destinations = pairs.unbind(1)
        layer_bytes = len(pairs) * self._kv[0, :, 0].nbytes
        for layers in self._kv.split(max(1, _COPY_BYTES // layer_bytes)):
            layers[:, :, destinations] = layers[:, :, sources]

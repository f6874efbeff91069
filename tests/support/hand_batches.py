"""Forward batches written by hand, without scheduler or runner: scattered blocks of a poisoned KV store."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from pagednb.config import CacheGeometry
from pagednb.forward_batch import ForwardBatch
from pagednb.kv_cache.kv_store import KVStore
from pagednb.models.spec import DecoderSpec


class HandBatches:
    """Token lists, each with a block table of its own and a count of tokens already in the cache."""

    def __init__(
        self,
        spec: DecoderSpec,
        sequences: Sequence[Sequence[int]],
        *,
        block_size: int = 4,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.sequences = [list(sequence) for sequence in sequences]
        self.num_computed = [0] * len(sequences)
        self._block_size = block_size
        self._width = max(-(-len(sequence) // block_size) for sequence in sequences)
        num_blocks = 1 + self._width * len(sequences)
        # block 0 is scratch; the others are dealt in an order that is neither rising nor contiguous
        order = torch.randperm(num_blocks - 1, generator=torch.Generator().manual_seed(0)) + 1
        self._tables = order.view(len(sequences), self._width).int()
        longest = max(map(len, self.sequences))
        geometry = CacheGeometry(num_blocks=num_blocks, block_size=block_size, max_model_len=longest)
        self.kv = KVStore(
            spec.num_layers,
            spec.num_kv_heads,
            spec.head_dim,
            geometry,
            dtype=dtype,
            device=torch.device("cpu"),
        )
        for cache in itertools.chain.from_iterable(self.kv.layer(index) for index in range(spec.num_layers)):
            cache.fill_(float("nan"))

    def next_batch(
        self, *, decodes: Sequence[int] = (), chunks: Sequence[tuple[int, int]] = (), sample_all: bool = False
    ) -> tuple[ForwardBatch, list[tuple[int, int]]]:
        """Return a batch and the (sequence, position) of each of its sampled tokens.

        ``decodes`` are sequences that compute one token, ``chunks`` pairs of a sequence and a number of tokens. Sampled
        are decodes and chunks that end their sequence, or every token.
        """
        pieces = [(seq, 1) for seq in decodes] + list(chunks)
        spans = [range(self.num_computed[seq], self.num_computed[seq] + count) for seq, count in pieces]
        owners = [seq for seq, count in pieces for _ in range(count)]
        positions = [position for span in spans for position in span]
        sampled = [
            index
            for index, (seq, position) in enumerate(zip(owners, positions, strict=True))
            if sample_all or index < len(decodes) or position == len(self.sequences[seq]) - 1
        ]
        for seq, count in pieces:
            self.num_computed[seq] += count
        batch = ForwardBatch(
            input_ids=torch.tensor(
                [self.sequences[seq][position] for seq, position in zip(owners, positions, strict=True)]
            ),
            positions=torch.tensor(positions),
            slot_mapping=torch.tensor([self._slot(*place) for place in zip(owners, positions, strict=True)]),
            query_start_loc=torch.tensor([0, *itertools.accumulate(map(len, spans))], dtype=torch.int32),
            seq_lens=torch.tensor([span.stop for span in spans], dtype=torch.int32),
            block_tables=self._tables[[seq for seq, _ in pieces]],
            sample_indices=torch.tensor(sampled, dtype=torch.int64),
            num_decodes=len(decodes),
            max_query_len=max((count for _, count in chunks), default=0),
            max_seq_len=max(span.stop for span in spans),
        )
        return batch, [(owners[index], positions[index]) for index in sampled]

    def _slot(self, seq: int, position: int) -> int:
        block = int(self._tables[seq, position // self._block_size])
        return block * self._block_size + position % self._block_size

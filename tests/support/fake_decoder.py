"""A decoder whose next token is arithmetic on the whole sequence, read back through the paged cache.

It stores token ids as keys and positions as values, then finds each sequence again through its block table: a wrong
slot, position, block table or copy changes the answer. ``next_token`` says what the answer must be.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pagednb.forward_batch import ForwardBatch
from pagednb.kv_cache.kv_store import KVStore

VOCAB_SIZE = 101


def next_token(tokens: Sequence[int]) -> int:
    """The greedy continuation of ``tokens``."""
    return sum((i + 1) * (token + 7) for i, token in enumerate(tokens)) % VOCAB_SIZE


def continuation(tokens: Sequence[int], num_tokens: int) -> list[int]:
    """``num_tokens`` greedy tokens after ``tokens``."""
    sequence = list(tokens)
    for _ in range(num_tokens):
        sequence.append(next_token(sequence))
    return sequence[len(tokens) :]


class FakeDecoder:
    """Stands in for ``Decoder``; hidden states are logits."""

    num_bytes = 0

    def __init__(self) -> None:
        self.batches: list[ForwardBatch] = []
        self.logits_rows: list[int] = []
        self.fail_next = False

    def forward(self, batch: ForwardBatch, kv: KVStore) -> torch.Tensor:
        if self.fail_next:
            self.fail_next = False
            raise RuntimeError("injected fault")
        self.batches.append(batch)
        k_cache, v_cache = kv.layer(0)
        block_size = k_cache.shape[2]
        blocks, offsets = batch.slot_mapping // block_size, batch.slot_mapping % block_size
        k_cache[blocks, 0, offsets, 0] = batch.input_ids.to(k_cache.dtype)
        v_cache[blocks, 0, offsets, 0] = batch.positions.to(v_cache.dtype)
        rows = [self._logits(batch, token, k_cache, v_cache) for token in batch.sample_indices.tolist()]
        return torch.stack(rows) if rows else torch.empty(0, VOCAB_SIZE)

    def compute_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        self.logits_rows.append(len(hidden))
        return hidden.clone()

    def _logits(self, batch: ForwardBatch, token: int, k_cache: torch.Tensor, v_cache: torch.Tensor) -> torch.Tensor:
        seq = int(torch.searchsorted(batch.query_start_loc, token, right=True)) - 1
        length = int(batch.seq_lens[seq])
        assert length <= batch.max_seq_len
        blocks = batch.block_tables[seq, : -(-length // k_cache.shape[2])].long()
        tokens = k_cache[blocks, 0, :, 0].flatten()[:length].long().tolist()
        positions = v_cache[blocks, 0, :, 0].flatten()[:length].long().tolist()
        assert positions == list(range(length)), positions
        logits = torch.linspace(-1.0, 0.0, VOCAB_SIZE)
        logits[next_token(tokens)] = 5.0
        return logits

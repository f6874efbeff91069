"""One forward pass as data: an argument handed from the runner down to the kernels, never a global.

Sequences that decode (exactly one query token) come first, then prefill chunks. All tensors lie on the model's device.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ForwardBatch:
    """Inputs and attention metadata of one forward pass.

    Attributes:
        input_ids: int64 ``[num_tokens]``.
        positions: int64 ``[num_tokens]``, position of each token in its sequence.
        slot_mapping: int64 ``[num_tokens]``, ``block * block_size + offset`` where the token's K and V are written;
            padding tokens point into block 0, which is scratch.
        query_start_loc: int32 ``[num_seqs + 1]``, first token of each sequence's query.
        seq_lens: int32 ``[num_seqs]``, context length including this pass's tokens.
        block_tables: int32 ``[num_seqs, max_blocks]``.
        sample_indices: int64 ``[num_sampled]``, the tokens whose logits are wanted, in order of sequences.
        num_decodes: sequences with one query token; they come first.
        max_query_len: longest query among the prefill chunks (0 when there is none).
        max_seq_len: upper bound of ``seq_lens`` known on the host.
        shared_prefix_lens: int32 ``[num_seqs]``: how many leading tokens a sequence has in common with the others of
            one group of decodes, whose tables agree so far; 0 outside the group. None: there is no group.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    slot_mapping: torch.Tensor
    query_start_loc: torch.Tensor
    seq_lens: torch.Tensor
    block_tables: torch.Tensor
    sample_indices: torch.Tensor
    num_decodes: int
    max_query_len: int
    max_seq_len: int
    shared_prefix_lens: torch.Tensor | None = None

    @property
    def num_seqs(self) -> int:
        """Sequences in the batch."""
        return self.seq_lens.shape[0]

    @property
    def num_prefills(self) -> int:
        """Prefill chunks in the batch."""
        return self.num_seqs - self.num_decodes

"""Which kernel attends to what: decodes of a group read their common prefix through one table, nobody else does."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pagednb.attention.paged_attention import PagedAttention
from pagednb.forward_batch import ForwardBatch
from pagednb.kernels.kernel_set import torch_kernels

BLOCK_SIZE, NUM_HEADS, HEAD_DIM = 4, 2, 8
SEQ_LENS = (11, 14, 10, 12)  # three decodes, then a chunk of five tokens
QUERY_LENS = (1, 1, 1, 5)
SHARED = (8, 0, 8, 0)  # the first and third begin alike
KERNELS = torch_kernels()


@pytest.fixture
def cache() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    k, v = (torch.randn((20, NUM_HEADS, BLOCK_SIZE, HEAD_DIM), generator=generator) for _ in range(2))
    return k, v


def make_batch(*, shared: tuple[int, ...] | None) -> ForwardBatch:
    tables = torch.arange(1, 17, dtype=torch.int32).view(4, 4)
    tables[2, :2] = tables[0, :2]
    starts = torch.tensor([0, *QUERY_LENS]).cumsum(0)
    positions = torch.cat([torch.arange(n - m, n) for n, m in zip(SEQ_LENS, QUERY_LENS, strict=True)])
    return ForwardBatch(
        input_ids=torch.zeros(8, dtype=torch.int64),
        positions=positions,
        slot_mapping=torch.zeros(8, dtype=torch.int64),
        query_start_loc=starts.int(),
        seq_lens=torch.tensor(SEQ_LENS, dtype=torch.int32),
        block_tables=tables,
        sample_indices=starts[1:] - 1,
        num_decodes=3,
        max_query_len=5,
        max_seq_len=16,
        shared_prefix_lens=None if shared is None else torch.tensor(shared, dtype=torch.int32),
    )


def attend(cache: tuple[torch.Tensor, torch.Tensor], batch: ForwardBatch, window: int | None = None) -> torch.Tensor:
    """All queries, then those of the sampled tokens alone, which must agree."""
    attention = PagedAttention(KERNELS, scale=0.3, sliding_window=window)
    q = torch.randn((8, NUM_HEADS, HEAD_DIM), generator=torch.Generator().manual_seed(1))
    attended = attention(q, cache, batch)
    sampled = attention.attend_sampled(q[batch.sample_indices], cache, batch)
    torch.testing.assert_close(sampled, attended[batch.sample_indices])
    return attended


@pytest.mark.parametrize("window", [None, 5])
def test_a_group_changes_no_result(cache, window):
    expected = attend(cache, make_batch(shared=None), window)
    torch.testing.assert_close(attend(cache, make_batch(shared=SHARED), window), expected)


def test_a_wrong_group_shows(cache):
    expected = attend(cache, make_batch(shared=None))
    for wrong in ((8, 8, 0, 0), (0, 8, 8, 0)):
        attended = attend(cache, make_batch(shared=wrong))
        differs = (attended - expected).abs().amax(dim=(1, 2)) > 1e-3
        assert differs.any() and not differs[3:].any()


def test_a_window_reads_each_table(cache):
    """The group is not looked at: even a wrong one changes nothing."""
    expected = attend(cache, make_batch(shared=None), 9)
    torch.testing.assert_close(attend(cache, make_batch(shared=(8, 8, 8, 0)), 9), expected)


def test_a_batch_of_decodes_alone(cache):
    mixed = make_batch(shared=SHARED)
    decodes = dataclasses.replace(
        mixed,
        positions=mixed.positions[:3],
        query_start_loc=mixed.query_start_loc[:4],
        seq_lens=mixed.seq_lens[:3],
        block_tables=mixed.block_tables[:3],
        sample_indices=mixed.sample_indices[:3],
        shared_prefix_lens=mixed.shared_prefix_lens[:3],
        max_query_len=0,
    )
    attention = PagedAttention(KERNELS, scale=0.3, sliding_window=None)
    q = torch.randn((8, NUM_HEADS, HEAD_DIM), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(attention(q[:3], cache, decodes), attention(q, cache, mixed)[:3])

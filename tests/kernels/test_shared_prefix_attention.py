"""Shared-prefix decode attention against dense float64 attention, with poison wherever no token lies."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.kernel_checks import DTYPES, PagedKV, bound, dense_attention, draw, error_ratio, paged_kv

from pagednb.kernels.kernel_set import KernelSet


@dataclasses.dataclass(frozen=True)
class Case:
    """``lengths`` of sequences; ``members`` of them begin with the same ``prefix_len`` keys."""

    lengths: tuple[int, ...]
    members: tuple[int, ...]
    prefix_len: int
    num_q_heads: int
    num_kv_heads: int
    head_dim: int
    block_size: int = 16
    spare_len: int = 0  # how far the host's bound lies above the longest sequence


SMALL = (
    Case((5, 9, 6), (0, 1, 2), 4, 1, 1, 8, block_size=4),
    Case((1, 97, 40, 41, 200), (1, 3), 40, 6, 2, 80, block_size=8),  # odd group, others between the members
    Case((300,), (0,), 299, 3, 1, 24, block_size=32),
    Case((23, 30, 1, 18), (0, 1, 3), 17, 4, 4, 16),  # the prefix ends within a block
    Case((700, 650, 20), (0, 1), 640, 2, 1, 16, block_size=128, spare_len=3000),  # more than one split
    Case((90, 35) * 20, tuple(range(0, 40, 2)), 32, 4, 2, 16),  # several tiles of sequences
    Case((40, 1), (), 0, 17, 1, 16),  # nobody
)
LARGE = (
    Case((700,) * 64, tuple(range(64)), 512, 32, 8, 128),
    Case(tuple(range(530, 780)), tuple(range(250)), 512, 16, 8, 128, spare_len=1000),
    Case(tuple(range(600, 1800, 37)), tuple(range(0, 30, 3)), 593, 32, 8, 128),
    Case((2500, 4, 3333, 1025), (0, 2, 3), 1024, 28, 4, 128, block_size=32),
    Case((3100, 5, 5000), (0, 2), 3000, 16, 8, 128),
    Case((900, 831, 850), (0, 1, 2), 830, 14, 2, 64, block_size=64),
    Case((600, 1000), (0, 1), 596, 8, 1, 256),
    Case((300, 700, 700), (1, 2), 400, 12, 12, 96),
)


def share_prefix(kv: PagedKV, members: tuple[int, ...], prefix_len: int) -> torch.Tensor:
    """Let members begin with the first one's keys and, where they fill it, its blocks; return the prefix lengths."""
    prefix_lens = torch.zeros_like(kv.seq_lens)
    prefix_lens[list(members)] = prefix_len
    block_size = kv.k_cache.shape[2]
    num_full, num_rest = divmod(prefix_len, block_size)
    for member in members[1:]:
        leader = members[0]
        for dense, cache in ((kv.keys, kv.k_cache), (kv.values, kv.v_cache)):
            dense[member][:prefix_len] = dense[leader][:prefix_len]
            cache[kv.block_tables[member, :num_full]] = torch.nan
            rest, source = (int(kv.block_tables[seq, num_full]) for seq in (member, leader))
            cache[rest, :, :num_rest] = cache[source, :, :num_rest]
        kv.block_tables[member, :num_full] = kv.block_tables[leader, :num_full]
    return prefix_lens


def check(kernels: KernelSet, case: Case, dtype: torch.dtype, device: torch.device, *, spoil: bool = False) -> float:
    """Run one case and return its error; ``spoil`` changes a key of the prefix that only the formula sees."""
    kv = paged_kv(
        list(case.lengths),
        num_kv_heads=case.num_kv_heads,
        head_dim=case.head_dim,
        block_size=case.block_size,
        dtype=dtype,
        device=device,
    )
    prefix_lens = share_prefix(kv, case.members, case.prefix_len)
    q = draw((len(case.lengths), case.num_q_heads, case.head_dim), dtype, device, seed=5)
    scale = case.head_dim**-0.5
    out = torch.full_like(q, torch.nan)
    returned = kernels.shared_prefix_attention(
        q,
        kv.k_cache,
        kv.v_cache,
        kv.block_tables,
        kv.seq_lens,
        prefix_lens,
        scale=scale,
        max_seq_len=max(case.lengths) + case.spare_len,
        out=out,
    )
    assert returned is out
    if spoil:
        kv.values[case.members[-1]][0] += 1.0
    expected = torch.cat(
        [
            dense_attention(q[i : i + 1], keys, values, scale=scale, sliding_window=None)
            for i, (keys, values) in enumerate(zip(kv.keys, kv.values, strict=True))
        ]
    )
    return error_ratio(out, expected)


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_small(kernels: KernelSet, case: Case, device: torch.device) -> None:
    assert check(kernels, case, torch.float32, device) < bound(torch.float32)


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_small_half_precision(kernels: KernelSet, dtype: torch.dtype, device: torch.device) -> None:
    assert check(kernels, SMALL[1], dtype, device) < bound(dtype)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_large(kernels: KernelSet, case: Case, dtype: torch.dtype, device: torch.device) -> None:
    assert check(kernels, case, dtype, device) < bound(dtype)


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_reference(references: KernelSet, case: Case) -> None:
    assert check(references, case, torch.float32, torch.device("cpu")) < bound(torch.float32)


@pytest.mark.parametrize("case", [SMALL[1], SMALL[4]], ids=str)
def test_the_check_can_fail(kernels: KernelSet, case: Case, device: torch.device) -> None:
    assert check(kernels, case, torch.float32, device, spoil=True) > bound(torch.float32)


@pytest.mark.gpu
def test_a_sequence_is_summed_alike_in_every_group(kernels: KernelSet, device: torch.device) -> None:
    shape = {"num_kv_heads": 1, "head_dim": 16, "block_size": 16, "dtype": torch.float32, "device": device}
    kv = paged_kv([300, 330, 270, 290], **shape)
    prefix_lens = share_prefix(kv, (0, 1, 3), 256)
    q = draw((4, 2, 16), torch.float32, device, seed=5)
    run, caches = kernels.shared_prefix_attention, (kv.k_cache, kv.v_cache)
    together = run(q, *caches, kv.block_tables, kv.seq_lens, prefix_lens, scale=0.25, max_seq_len=4000)
    for seqs in ([0], [3, 1], [2]):
        rows = (kv.block_tables[seqs], kv.seq_lens[seqs], prefix_lens[seqs])
        few = run(q[seqs], *caches, *rows, scale=0.25, max_seq_len=330)
        assert torch.equal(few, together[seqs])


def test_padding_rows_read_the_scratch_block(kernels: KernelSet, device: torch.device) -> None:
    cache = torch.zeros((2, 1, 16, 8), device=device)
    tables = torch.zeros((2, 3), dtype=torch.int32, device=device)
    ones = torch.ones(2, dtype=torch.int32, device=device)
    q = draw((2, 2, 8), torch.float32, device, seed=0)
    attend = kernels.shared_prefix_attention
    assert not attend(q, cache, cache, tables, ones, torch.zeros_like(ones), scale=1.0, max_seq_len=48).any()


def test_a_sequence_that_has_left_the_group_is_no_member(
    kernels: KernelSet, references: KernelSet, device: torch.device
) -> None:
    """As a row that decodes no more: its table and length say nothing, its prefix length still does."""
    shape = {"num_kv_heads": 1, "head_dim": 16, "block_size": 16}
    for each, place in ((kernels, device), (references, torch.device("cpu"))):
        kv = paged_kv([40, 50, 60], **shape, dtype=torch.float32, device=place)
        prefix_lens = share_prefix(kv, (0, 1, 2), 32)
        q = draw((3, 2, 16), torch.float32, place, seed=5)
        run, caches = each.shared_prefix_attention, (kv.k_cache, kv.v_cache)
        expected = run(q, *caches, kv.block_tables, kv.seq_lens, prefix_lens, scale=0.25, max_seq_len=60)
        gone = kv.block_tables.clone()
        gone[2] = 0
        kv.k_cache[0], kv.v_cache[0] = 0.0, 0.0
        seq_lens = kv.seq_lens.clone()
        seq_lens[2] = 1
        out = run(q, *caches, gone, seq_lens, prefix_lens, scale=0.25, max_seq_len=60)
        torch.testing.assert_close(out[:2], expected[:2])


def test_no_sequences_give_no_rows(kernels: KernelSet, references: KernelSet, device: torch.device) -> None:
    for each, place in ((kernels, device), (references, torch.device("cpu"))):
        none = torch.zeros(0, dtype=torch.int32, device=place)
        q, cache = torch.zeros((0, 2, 8), device=place), torch.zeros((2, 1, 16, 8), device=place)
        out = each.shared_prefix_attention(q, cache, cache, none.view(0, 3), none, none, scale=1.0, max_seq_len=48)
        assert out.shape == (0, 2, 8)


@pytest.mark.gpu
def test_blocks_past_two_billion_elements(kernels: KernelSet, device: torch.device) -> None:
    """Blocks at the end of a cache of more than 2^31 elements give what the same blocks at its start give."""
    cache = torch.zeros((132_000, 8, 16, 128), dtype=torch.bfloat16, device=device)
    cache[-4:] = draw((4, 8, 16, 128), torch.bfloat16, device, seed=0)
    small = cache[-4:].clone()
    q = draw((2, 32, 128), torch.bfloat16, device, seed=1)
    seq_lens, prefix_lens = (torch.tensor(lens, dtype=torch.int32, device=device) for lens in ([64, 50], [48, 48]))
    near = torch.arange(4, dtype=torch.int32, device=device).repeat(2, 1)
    far = near + cache.shape[0] - 4
    run = kernels.shared_prefix_attention
    assert torch.equal(
        run(q, cache, cache, far, seq_lens, prefix_lens, scale=0.1, max_seq_len=64),
        run(q, small, small, near, seq_lens, prefix_lens, scale=0.1, max_seq_len=64),
    )

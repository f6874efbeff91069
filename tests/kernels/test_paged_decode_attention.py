"""Decode attention against dense float64 attention, with poison wherever no token lies."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.kernel_checks import DTYPES, bound, dense_attention, draw, error_ratio, paged_kv

from pagednb.kernels.kernel_set import KernelSet


@dataclasses.dataclass(frozen=True)
class Case:
    lengths: tuple[int, ...]
    num_q_heads: int
    num_kv_heads: int
    head_dim: int
    block_size: int = 16
    sliding_window: int | None = None
    spare_len: int = 0  # how far the host's bound lies above the longest sequence


SMALL = (
    Case((1,), 1, 1, 8, block_size=4),
    Case((1, 7, 65), 6, 2, 80, block_size=8, spare_len=300),
    Case((300, 16, 257), 5, 1, 24, block_size=128),
    Case((40, 530), 3, 1, 32, sliding_window=19, spare_len=700),
    Case((33, 290), 4, 2, 16, block_size=4, sliding_window=270),
    Case((20,), 17, 1, 16),
)
LARGE = (
    Case((2000,), 32, 8, 128),
    Case(tuple(range(1, 1800, 37)), 32, 8, 128),
    Case((700,) * 64, 16, 8, 128, block_size=32),
    Case((1500, 3, 4097), 28, 4, 128, sliding_window=1024),
    Case((900, 31), 14, 2, 64, block_size=64),
    Case((600, 1000), 8, 1, 256),
    Case((20000, 5), 32, 2, 80),
    Case((300, 700), 12, 12, 96),
)


def check(kernels: KernelSet, case: Case, dtype: torch.dtype, device: torch.device, *, spoil: bool = False) -> float:
    """Run one case and return its error; ``spoil`` changes a value that only the formula sees."""
    kv = paged_kv(
        list(case.lengths),
        num_kv_heads=case.num_kv_heads,
        head_dim=case.head_dim,
        block_size=case.block_size,
        dtype=dtype,
        device=device,
    )
    q = draw((len(case.lengths), case.num_q_heads, case.head_dim), dtype, device, seed=5)
    scale = case.head_dim**-0.5
    out = kernels.paged_decode_attention(
        q,
        kv.k_cache,
        kv.v_cache,
        kv.block_tables,
        kv.seq_lens,
        scale=scale,
        max_seq_len=max(case.lengths) + case.spare_len,
        sliding_window=case.sliding_window,
    )
    if spoil:
        kv.values[-1][-1] += 1.0
    expected = torch.cat(
        [
            dense_attention(q[i : i + 1], keys, values, scale=scale, sliding_window=case.sliding_window)
            for i, (keys, values) in enumerate(zip(kv.keys, kv.values, strict=True))
        ]
    )
    assert out.dtype == dtype
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


def test_the_check_can_fail(kernels: KernelSet, device: torch.device) -> None:
    assert check(kernels, SMALL[1], torch.float32, device, spoil=True) > bound(torch.float32)


def test_a_sequence_is_summed_alike_in_every_batch(kernels: KernelSet, device: torch.device) -> None:
    shape = {"num_kv_heads": 1, "head_dim": 16, "block_size": 16, "dtype": torch.float32, "device": device}
    kv = paged_kv([600, 30, 270], **shape)
    q = draw((3, 2, 16), torch.float32, device, seed=5)
    arguments = (kv.k_cache, kv.v_cache)
    together = kernels.paged_decode_attention(q, *arguments, kv.block_tables, kv.seq_lens, scale=0.25, max_seq_len=600)
    for i, length in enumerate((600, 30, 270)):
        alone = kernels.paged_decode_attention(
            q[i : i + 1],
            *arguments,
            kv.block_tables[i : i + 1],
            kv.seq_lens[i : i + 1],
            scale=0.25,
            max_seq_len=length,
        )
        assert torch.equal(alone[0], together[i])


@pytest.mark.parametrize("window", [None, 500])
def test_whole_splits_and_single_tiles_give_the_same_bits(
    kernels: KernelSet, device: torch.device, monkeypatch: pytest.MonkeyPatch, window: int | None
) -> None:
    module = pytest.importorskip("pagednb.kernels.paged_decode_attention")
    lengths = [2100, 1024, 1025, 300, 128, 1]
    shape = {"num_kv_heads": 1, "head_dim": 16, "block_size": 16, "dtype": torch.bfloat16, "device": device}
    kv = paged_kv(lengths, **shape)
    q = draw((len(lengths), 2, 16), torch.bfloat16, device, seed=5)
    arguments = (q, kv.k_cache, kv.v_cache, kv.block_tables, kv.seq_lens)
    settings = {"scale": 0.25, "max_seq_len": 2100, "sliding_window": window}
    by_tile = kernels.paged_decode_attention(*arguments, **settings)
    monkeypatch.setattr(module, "MANY_HEADS", 0)
    assert torch.equal(kernels.paged_decode_attention(*arguments, **settings), by_tile)
    monkeypatch.setattr(module, "FEW_PROGRAMS", 0)
    assert torch.equal(kernels.paged_decode_attention(*arguments, **settings), by_tile)


def test_few_programs_take_tiles_unless_they_would_be_many() -> None:
    part_size = pytest.importorskip("pagednb.kernels.paged_decode_attention").decode_part_size
    assert part_size(8, 1024, 1024, 128) == part_size(128, 1024, 1024, 128) == part_size(8, 8192, 1024, 128) == 128
    assert part_size(136, 1024, 1024, 128) == part_size(72, 2048, 1024, 128) == part_size(8, 16384, 1024, 128) == 1024


def test_writes_into_the_callers_tensor(kernels: KernelSet, device: torch.device) -> None:
    kv = paged_kv([20, 300], num_kv_heads=1, head_dim=16, block_size=16, dtype=torch.float32, device=device)
    q = draw((2, 2, 16), torch.float32, device, seed=5)
    arguments = (q, kv.k_cache, kv.v_cache, kv.block_tables, kv.seq_lens)
    batch = torch.full((5, 2, 16), 7.0, device=device)
    returned = kernels.paged_decode_attention(*arguments, scale=0.25, max_seq_len=300, out=batch[1:3])
    assert returned.data_ptr() == batch[1:3].data_ptr()
    assert torch.equal(batch[1:3], kernels.paged_decode_attention(*arguments, scale=0.25, max_seq_len=300))
    assert (batch[[0, 3, 4]] == 7.0).all()


def test_padding_rows_read_the_scratch_block(kernels: KernelSet, device: torch.device) -> None:
    cache = torch.zeros((2, 1, 16, 8), device=device)
    tables = torch.zeros((2, 3), dtype=torch.int32, device=device)
    ones = torch.ones(2, dtype=torch.int32, device=device)
    q = draw((2, 2, 8), torch.float32, device, seed=0)
    assert not kernels.paged_decode_attention(q, cache, cache, tables, ones, scale=1.0, max_seq_len=48).any()


@pytest.mark.gpu
def test_blocks_past_two_billion_elements(kernels: KernelSet, device: torch.device) -> None:
    """Blocks at the end of a cache of more than 2^31 elements give what the same blocks at its start give."""
    cache = torch.zeros((132_000, 8, 16, 128), dtype=torch.bfloat16, device=device)
    cache[-4:] = draw((4, 8, 16, 128), torch.bfloat16, device, seed=0)
    small = cache[-4:].clone()
    q = draw((1, 32, 128), torch.bfloat16, device, seed=1)
    seq_lens = torch.tensor([64], dtype=torch.int32, device=device)
    near = torch.arange(4, dtype=torch.int32, device=device).unsqueeze(0)
    far = near + cache.shape[0] - 4
    run = kernels.paged_decode_attention
    assert torch.equal(
        run(q, cache, cache, far, seq_lens, scale=0.1, max_seq_len=64),
        run(q, small, small, near, seq_lens, scale=0.1, max_seq_len=64),
    )

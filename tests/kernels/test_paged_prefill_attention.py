"""Prefill attention against dense float64 attention, with poison wherever no token lies."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from support.kernel_checks import DTYPES, POISON_BLOCK, bound, dense_attention, draw, error_ratio, paged_kv

from pagednb.kernels.kernel_set import KernelSet


@dataclasses.dataclass(frozen=True)
class Case:
    chunks: tuple[tuple[int, int], ...]  # (query_len, seq_len) of each sequence
    num_q_heads: int
    num_kv_heads: int
    head_dim: int
    block_size: int = 16
    sliding_window: int | None = None
    first_token: int = 0  # where query_start_loc begins


SMALL = (
    Case(((1, 1),), 1, 1, 8, block_size=4),
    Case(((5, 5), (1, 40), (17, 90)), 6, 2, 80, block_size=8),
    Case(((70, 70), (3, 3), (33, 129)), 3, 1, 24, block_size=128, first_token=11),
    Case(((60, 150), (9, 9)), 7, 1, 16, sliding_window=13),
    Case(((40, 200),), 2, 2, 32, sliding_window=90),
    Case(((3, 20),), 17, 1, 16),
)
LARGE = (
    Case(((2000, 2000), (1, 3000), (700, 1900)), 32, 8, 128),
    Case(tuple((n, 2 * n) for n in range(1, 1000, 53)), 16, 8, 128, block_size=32),
    Case(((1500, 4000), (900, 900)), 28, 4, 128, sliding_window=1024),
    Case(((513, 513), (77, 1200)), 14, 2, 64, block_size=64),
    Case(((300, 800),), 8, 1, 256),
    Case(((400, 500), (64, 64)), 12, 12, 96),
    Case(((300, 1000), (20, 70)), 40, 2, 80),
)


def check(kernels: KernelSet, case: Case, dtype: torch.dtype, device: torch.device, *, spoil: bool = False) -> float:
    """Run one case and return its error; ``spoil`` changes a value that only the formula sees."""
    query_lens, seq_lens = zip(*case.chunks, strict=True)
    kv = paged_kv(
        list(seq_lens),
        num_kv_heads=case.num_kv_heads,
        head_dim=case.head_dim,
        block_size=case.block_size,
        dtype=dtype,
        device=device,
    )
    bounds = list(itertools.accumulate(query_lens, initial=0))
    q = draw((bounds[-1], case.num_q_heads, case.head_dim), dtype, device, seed=5)
    scale = case.head_dim**-0.5
    out = kernels.paged_prefill_attention(
        q,
        kv.k_cache,
        kv.v_cache,
        kv.block_tables,
        torch.tensor(bounds, dtype=torch.int32, device=device) + case.first_token,
        kv.seq_lens,
        scale=scale,
        max_query_len=max(query_lens),
        sliding_window=case.sliding_window,
    )
    if spoil:
        kv.values[-1][-1] += 5.0
    expected = torch.cat(
        [
            dense_attention(q[start:stop], keys, values, scale=scale, sliding_window=case.sliding_window)
            for start, stop, keys, values in zip(bounds[:-1], bounds[1:], kv.keys, kv.values, strict=True)
        ]
    )
    assert out.dtype == dtype
    return error_ratio(out, expected)


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_small(kernels: KernelSet, case: Case, device: torch.device) -> None:
    assert check(kernels, case, torch.float32, device) < bound(torch.float32)


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("case", [SMALL[1], SMALL[3]], ids=str)
def test_small_half_precision(kernels: KernelSet, case: Case, dtype: torch.dtype, device: torch.device) -> None:
    assert check(kernels, case, dtype, device) < bound(dtype)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_large(kernels: KernelSet, case: Case, dtype: torch.dtype, device: torch.device) -> None:
    assert check(kernels, case, dtype, device) < bound(dtype)


@pytest.mark.gpu
def test_more_sequences_than_one_search_block(kernels: KernelSet, device: torch.device) -> None:
    case = Case(tuple((1 + i % 3, 4 + i % 50) for i in range(700)), 8, 2, 64)
    assert check(kernels, case, torch.bfloat16, device) < bound(torch.bfloat16)


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_reference(references: KernelSet, case: Case) -> None:
    assert check(references, case, torch.float32, torch.device("cpu")) < bound(torch.float32)


def test_the_check_can_fail(kernels: KernelSet, device: torch.device) -> None:
    assert check(kernels, SMALL[1], torch.float32, device, spoil=True) > bound(torch.float32)


def test_chunks_add_up_to_the_whole(kernels: KernelSet, device: torch.device) -> None:
    """Queries 0-29 give the same rows whether computed at once or in chunks of 7, 1 and 22."""
    kv = paged_kv([30], num_kv_heads=1, head_dim=16, block_size=4, dtype=torch.float32, device=device)
    q = draw((30, 2, 16), torch.float32, device, seed=1)

    def run(start: int, stop: int) -> torch.Tensor:
        return kernels.paged_prefill_attention(
            q[start:stop],
            kv.k_cache,
            kv.v_cache,
            kv.block_tables,
            torch.tensor([0, stop - start], dtype=torch.int32, device=device),
            torch.tensor([stop], dtype=torch.int32, device=device),
            scale=0.25,
            max_query_len=stop - start,
        )

    parts = torch.cat([run(0, 7), run(7, 8), run(8, 30)])
    assert error_ratio(parts, run(0, 30)) < bound(torch.float32)


def run_padded(
    kernels: KernelSet, query_lens: list[int], device: torch.device, *, num_padding: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend chunks, empty ones among them, into the middle of a larger tensor; return that tensor and the expected."""
    seq_lens = [n + 3 * seq if n else 1 for seq, n in enumerate(query_lens)]
    kv = paged_kv(seq_lens, num_kv_heads=2, head_dim=16, block_size=4, dtype=torch.float32, device=device)
    bounds = list(itertools.accumulate(query_lens, initial=0))
    q = draw((bounds[-1] + num_padding, 6, 16), torch.float32, device, seed=2)
    q[bounds[-1] :] = torch.nan
    batch = torch.full((2 + q.shape[0] + 1, 6, 16), -7.0, device=device)
    tables = kv.block_tables.where(torch.tensor(query_lens, device=device).unsqueeze(1) > 0, POISON_BLOCK)
    out = kernels.paged_prefill_attention(
        q,
        kv.k_cache,
        kv.v_cache,
        tables,
        torch.tensor(bounds, dtype=torch.int32, device=device),
        kv.seq_lens,
        scale=0.25,
        max_query_len=max(query_lens),
        out=batch[2:-1],
    )
    assert out.data_ptr() == batch[2].data_ptr()
    expected = [
        dense_attention(q[start:stop], keys, values, scale=0.25, sliding_window=None)
        for start, stop, keys, values in zip(bounds[:-1], bounds[1:], kv.keys, kv.values, strict=True)
        if stop > start
    ]
    return batch, torch.cat(expected)


@pytest.mark.parametrize("query_lens", [[5, 30], [0, 0, 7, 0, 1, 40, 0], [1, 0, 1, 1, 0, 0, 0], [0, 90]], ids=str)
@pytest.mark.parametrize("num_padding", [0, 50])
def test_out_and_padding(
    kernels: KernelSet, references: KernelSet, query_lens: list[int], num_padding: int, device: torch.device
) -> None:
    """Chunks of no query and tokens of no chunk change nothing, and nothing is written beside the chunks' own rows."""
    for each in (kernels, references):
        batch, expected = run_padded(each, query_lens, device, num_padding=num_padding)
        stop = 2 + len(expected)
        assert error_ratio(batch[2:stop], expected) < bound(torch.float32)
        assert bool((batch[:2] == -7).all()) and bool((batch[stop:] == -7).all())


@pytest.mark.parametrize("num_seqs", [0, 2])
def test_padding_alone(kernels: KernelSet, num_seqs: int, device: torch.device) -> None:
    kv = paged_kv([1, 1], num_kv_heads=1, head_dim=16, block_size=4, dtype=torch.float32, device=device)
    q = torch.full((3, 1, 16), torch.nan, device=device)
    starts = torch.zeros(num_seqs + 1, dtype=torch.int32, device=device)
    arguments = (q, kv.k_cache, kv.v_cache, kv.block_tables[:num_seqs], starts, kv.seq_lens[:num_seqs])
    out = torch.full_like(q, -7)
    assert bool((kernels.paged_prefill_attention(*arguments, scale=1.0, max_query_len=9, out=out) == -7).all())


def test_out_must_be_like_the_queries(references: KernelSet) -> None:
    kv = paged_kv([3], num_kv_heads=1, head_dim=16, block_size=4, dtype=torch.float32, device=torch.device("cpu"))
    q = torch.zeros((3, 2, 16))
    arguments = (q, kv.k_cache, kv.v_cache, kv.block_tables, torch.tensor([0, 3]).int(), kv.seq_lens)
    for out in (q[:2], q.double(), torch.zeros((3, 16, 2)).transpose(1, 2)):
        with pytest.raises(AssertionError):
            references.paged_prefill_attention(*arguments, scale=1.0, max_query_len=3, out=out)

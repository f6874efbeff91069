"""Head norms, rotary and the cache write against complex multiplication in float64."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.kernel_checks import DTYPES, bound, draw, error_ratio

from pagednb.kernels.kernel_set import KernelSet

EPS = 1e-6
MAX_POSITIONS = 64


@dataclasses.dataclass(frozen=True)
class Case:
    num_tokens: int
    num_q_heads: int
    num_kv_heads: int
    head_dim: int
    block_size: int = 16
    has_rope: bool = True
    has_norm: bool = False


SMALL = (
    Case(1, 1, 1, 8, block_size=4),
    Case(5, 6, 2, 80, has_norm=True),
    Case(3, 7, 1, 96, block_size=8),
    Case(4, 40, 20, 64, has_norm=True),
    Case(4, 3, 3, 16, has_rope=False),
)
LARGE = (
    Case(1, 32, 8, 128),
    Case(2000, 32, 8, 128),
    Case(2000, 16, 8, 128, has_norm=True),
    Case(777, 14, 2, 64, block_size=128),
    Case(300, 12, 12, 256, has_rope=False),
)


def angles(head_dim: int) -> torch.Tensor:
    frequencies = 100.0 ** -(torch.arange(0, head_dim, 2) / head_dim)
    return torch.outer(torch.arange(MAX_POSITIONS).float(), frequencies)


def prepared(heads: torch.Tensor, weight: torch.Tensor | None, phase: torch.Tensor | None) -> torch.Tensor:
    x = heads.double()
    if weight is not None:
        x = x / (x.square().mean(dim=-1, keepdim=True) + EPS).sqrt() * weight.double()
    if phase is None:
        return x
    first, second = x.chunk(2, dim=-1)
    turned = torch.complex(first, second) * torch.polar(torch.ones_like(phase), phase).unsqueeze(1)
    return torch.cat((turned.real, turned.imag), dim=-1)


def check(kernels: KernelSet, case: Case, dtype: torch.dtype, device: torch.device, *, spoil: bool = False) -> float:
    """Run one case and return the larger error of Q and K; ``spoil`` changes an input that only the formula sees."""
    num_heads = case.num_q_heads + 2 * case.num_kv_heads
    qkv = draw((case.num_tokens, num_heads * case.head_dim), dtype, device, seed=0)
    generator = torch.Generator().manual_seed(1)
    positions = torch.randint(MAX_POSITIONS, (case.num_tokens,), generator=generator).to(device)
    num_blocks = case.num_tokens // case.block_size + 3
    slots = torch.randperm(num_blocks * case.block_size, generator=generator)[: case.num_tokens].to(device)
    cache_shape = (num_blocks, case.num_kv_heads, case.block_size, case.head_dim)
    k_cache = torch.full(cache_shape, torch.nan, dtype=dtype, device=device)
    v_cache = k_cache.clone()
    phase = angles(case.head_dim).to(device)
    weights = [draw((case.head_dim,), dtype, device, seed=s) for s in (2, 3)] if case.has_norm else [None, None]
    q = kernels.rope_and_cache(
        qkv,
        positions,
        slots,
        k_cache,
        v_cache,
        num_q_heads=case.num_q_heads,
        cos_sin=torch.cat((phase.cos(), phase.sin()), dim=-1) if case.has_rope else None,
        q_norm_weight=weights[0],
        k_norm_weight=weights[1],
        eps=EPS,
    )
    if spoil:
        qkv[0, 0] += 4.0

    heads = qkv.view(case.num_tokens, num_heads, case.head_dim)
    in_q, in_k, in_v = heads.split((case.num_q_heads, case.num_kv_heads, case.num_kv_heads), dim=1)
    turn = phase.double()[positions] if case.has_rope else None
    written_k = k_cache[slots // case.block_size, :, slots % case.block_size]
    written_v = v_cache[slots // case.block_size, :, slots % case.block_size]
    untouched = k_cache.isnan().all(dim=-1).sum() + case.num_tokens * case.num_kv_heads
    assert torch.equal(written_v, in_v)
    assert int(untouched) == k_cache.numel() // case.head_dim
    return max(
        error_ratio(q, prepared(in_q, weights[0], turn)), error_ratio(written_k, prepared(in_k, weights[1], turn))
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", SMALL, ids=str)
def test_small(kernels: KernelSet, case: Case, dtype: torch.dtype, device: torch.device) -> None:
    assert check(kernels, case, dtype, device) < bound(dtype)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_large(kernels: KernelSet, case: Case, dtype: torch.dtype, device: torch.device) -> None:
    assert check(kernels, case, dtype, device) < bound(dtype)


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_reference(references: KernelSet, case: Case) -> None:
    assert check(references, case, torch.bfloat16, torch.device("cpu")) < bound(torch.bfloat16)


def test_the_check_can_fail(kernels: KernelSet, device: torch.device) -> None:
    assert check(kernels, SMALL[1], torch.float16, device, spoil=True) > bound(torch.float16)


@pytest.mark.gpu
def test_slots_past_two_billion_elements(kernels: KernelSet, device: torch.device) -> None:
    """The last block of a cache of more than 2^31 elements: its offset needs 64 bits."""
    k_cache = torch.zeros((132_000, 8, 16, 128), dtype=torch.bfloat16, device=device)
    v_cache = torch.zeros_like(k_cache)
    qkv = draw((1, 10 * 128), torch.bfloat16, device, seed=0).repeat(1, 2)[:, : 18 * 128].contiguous()
    slot = torch.tensor([k_cache.shape[0] * 16 - 1], device=device)
    kernels.rope_and_cache(qkv, torch.zeros_like(slot), slot, k_cache, v_cache, num_q_heads=2)
    assert torch.equal(k_cache[-1, :, -1].flatten(), qkv[0, 2 * 128 : 10 * 128])
    assert torch.equal(v_cache[-1, :, -1].flatten(), qkv[0, 10 * 128 :])
    assert not k_cache[:-1].any()

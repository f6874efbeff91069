"""The gated activation against its formula in float64."""

from __future__ import annotations

import pytest
import torch
from support.kernel_checks import DTYPES, bound, draw, error_ratio

from pagednb.kernels.kernel_set import KernelSet


def formula(gate_up: torch.Tensor) -> torch.Tensor:
    gate, up = gate_up.double().chunk(2, dim=-1)
    return gate / (1 + torch.exp(-gate)) * up


def check(kernels: KernelSet, tokens: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
    gate_up = draw((tokens, 2 * width), dtype, device, seed=0) * 3
    assert error_ratio(kernels.silu_and_mul(gate_up), formula(gate_up)) < bound(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("tokens", "width"), [(1, 1), (3, 7), (2, 2049), (5, 64)])
def test_small(kernels: KernelSet, tokens: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
    check(kernels, tokens, width, dtype, device)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("tokens", "width"), [(1, 14336), (2049, 3072), (70000, 129)])
def test_large(kernels: KernelSet, tokens: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
    check(kernels, tokens, width, dtype, device)


def test_reference(references: KernelSet) -> None:
    check(references, 3, 33, torch.bfloat16, torch.device("cpu"))


def test_the_check_can_fail(kernels: KernelSet, device: torch.device) -> None:
    gate_up = draw((4, 32), torch.float16, device, seed=0)
    out = kernels.silu_and_mul(gate_up)
    gate_up[1, 20] += 1.0
    assert error_ratio(out, formula(gate_up)) > bound(torch.float16)

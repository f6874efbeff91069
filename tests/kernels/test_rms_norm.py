"""RMSNorm, alone and with the residual, against its formula in float64."""

from __future__ import annotations

import pytest
import torch
from support.kernel_checks import DTYPES, bound, draw, error_ratio

from pagednb.kernels.kernel_set import KernelSet

EPS = 1e-5
SMALL = ((1, 1), (3, 8), (2, 77), (5, 128))
LARGE = ((1, 4096), (513, 1024), (64, 16384), (7, 5001))


def formula(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    x = x.double()
    return x / (x.square().mean(dim=-1, keepdim=True) + EPS).sqrt() * weight.double()


def check(kernels: KernelSet, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> None:
    x, residual = draw(shape, dtype, device, seed=0), draw(shape, dtype, device, seed=1)
    weight = draw(shape[1:], dtype, device, seed=2)
    assert error_ratio(kernels.rms_norm(x, weight, EPS), formula(x, weight)) < bound(dtype)

    total = residual + x
    normed, kept = kernels.add_rms_norm(x, residual, weight, EPS)
    assert kept is residual
    assert torch.equal(residual, total)
    assert error_ratio(normed, formula(total, weight)) < bound(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SMALL)
def test_small(kernels: KernelSet, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> None:
    check(kernels, shape, dtype, device)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", LARGE)
def test_large(kernels: KernelSet, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> None:
    check(kernels, shape, dtype, device)


@pytest.mark.parametrize("shape", SMALL)
def test_reference(references: KernelSet, shape: tuple[int, int]) -> None:
    check(references, shape, torch.bfloat16, torch.device("cpu"))


def test_rows_may_be_strided(kernels: KernelSet, device: torch.device) -> None:
    wide = draw((4, 100), torch.float32, device, seed=3)
    x, weight = wide[:, 10:74], draw((64,), torch.float32, device, seed=4)
    assert error_ratio(kernels.rms_norm(x, weight, EPS), formula(x, weight)) < bound(torch.float32)


def test_no_rows(kernels: KernelSet, device: torch.device) -> None:
    assert kernels.rms_norm(torch.empty((0, 8), device=device), torch.ones(8, device=device), EPS).shape == (0, 8)


def test_the_check_can_fail(kernels: KernelSet, device: torch.device) -> None:
    x, weight = draw((4, 64), torch.float16, device, seed=0), draw((64,), torch.float16, device, seed=1)
    out = kernels.rms_norm(x, weight, EPS)
    x[2, 5] += 2.0
    assert error_ratio(out, formula(x, weight)) > bound(torch.float16)

"""Products for few rows against float64: odd sizes, every number of rows, and rows that depend on nobody."""

from __future__ import annotations

import pytest
import torch
from support.kernel_checks import DTYPES, bound, draw, error_ratio

from pagednb.kernels.few_rows_linear import MAX_ROWS, few_rows_linear
from pagednb.kernels.kernel_set import KernelSet


def formula(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    product = x.double() @ weight.double().T
    return product if bias is None else product + bias.double()


def check(
    kernels: KernelSet, rows: int, shape: tuple[int, int], dtype: torch.dtype, device: torch.device, *, has_bias: bool
) -> None:
    x, weight = draw((rows, shape[1]), dtype, device, seed=0), draw(shape, dtype, device, seed=1)
    bias = draw(shape[:1], dtype, device, seed=2) * shape[1] ** 0.5 if has_bias else None
    expected = formula(x, weight, bias)
    assert error_ratio(kernels.linear(x, weight, bias), expected) < bound(dtype)
    if is_triton(kernels) and rows <= MAX_ROWS:
        assert error_ratio(few_rows_linear(x, weight, bias), expected) < bound(dtype)


def is_triton(kernels: KernelSet) -> bool:
    return kernels.linear.__module__ == few_rows_linear.__module__


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (7, 33), (20, 64), (3, 2500)])
def test_small(kernels: KernelSet, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> None:
    for rows in (1, 2, 3, MAX_ROWS, MAX_ROWS + 1):
        check(kernels, rows, shape, dtype, device, has_bias=rows % 2 == 0)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6144, 4096), (4096, 14336), (151_936, 1024), (4097, 3072), (1000, 4099)])
def test_large(kernels: KernelSet, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> None:
    for rows in (1, 3, MAX_ROWS):
        check(kernels, rows, shape, dtype, device, has_bias=rows == 3)


def test_reference(references: KernelSet) -> None:
    check(references, 3, (5, 40), torch.float32, torch.device("cpu"), has_bias=True)


def test_a_row_does_not_depend_on_the_others(kernels: KernelSet, device: torch.device) -> None:
    x, weight = draw((MAX_ROWS, 100), torch.float16, device, seed=3), draw((50, 100), torch.float16, device, seed=4)
    together = few_rows_linear(x, weight)
    for rows in range(1, MAX_ROWS):
        assert torch.equal(few_rows_linear(x[:rows], weight), together[:rows])


def test_rows_and_weights_may_lie_apart(kernels: KernelSet, device: torch.device) -> None:
    x, weight = draw((2, 90), torch.float16, device, seed=5), draw((30, 64), torch.float16, device, seed=6)
    out = few_rows_linear(x[:, 7:47], weight[::2, :40])
    assert error_ratio(out, formula(x[:, 7:47], weight[::2, :40], None)) < bound(torch.float16)


def test_no_rows(kernels: KernelSet, device: torch.device) -> None:
    assert kernels.linear(torch.empty((0, 8), device=device), torch.empty((3, 8), device=device)).shape == (0, 3)


def test_the_check_can_fail(kernels: KernelSet, device: torch.device) -> None:
    x, weight = draw((2, 64), torch.float32, device, seed=0), draw((9, 64), torch.float32, device, seed=1)
    expected = formula(x, weight, None)
    weight[4, 63] += 1.0
    assert error_ratio(few_rows_linear(x, weight), expected) > bound(torch.float32)


@pytest.mark.gpu
def test_a_chain_of_products_waits_for_what_it_reads(kernels: KernelSet, device: torch.device) -> None:
    """Kernels that start early must not read what the one before has not written; hundreds, replayed by a graph."""
    weights = [draw((512, 512), torch.float32, device, seed=i) / 512**0.5 for i in range(200)]
    x = draw((1, 512), torch.float32, device, seed=1000)

    def chain() -> torch.Tensor:
        y = x
        for weight in weights:
            y = kernels.linear(y, weight)
        return y

    chain()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = chain()
    expected = x.double()
    for weight in weights:
        expected = expected @ weight.double().T
    for _ in range(50):
        out.zero_()
        graph.replay()
        assert error_ratio(out, expected) < 200 * bound(torch.float32)

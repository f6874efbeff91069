"""The device of the kernel tests, and the kernels under test on it."""

from __future__ import annotations

import pytest
import torch

from pagednb.kernels.kernel_set import KernelSet, torch_kernels, triton_kernels


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session")
def kernels() -> KernelSet:
    return triton_kernels()


@pytest.fixture(scope="session")
def references() -> KernelSet:
    return torch_kernels()

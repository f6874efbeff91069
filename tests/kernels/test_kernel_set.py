"""The two sets offer the same ops with the same signatures, and asking for torch does not import Triton."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys

import torch

from pagednb.kernels.kernel_set import KernelSet, select_kernels


def test_signatures_are_identical(kernels: KernelSet, references: KernelSet) -> None:
    for field in dataclasses.fields(KernelSet):
        ours, theirs = getattr(kernels, field.name), getattr(references, field.name)
        assert ours.__name__ == theirs.__name__ == field.name
        assert inspect.signature(ours) == inspect.signature(theirs)


def test_device_selects(kernels: KernelSet, references: KernelSet) -> None:
    assert select_kernels(torch.device("cpu")) == references
    assert select_kernels(torch.device("cuda", 1)) == kernels


def test_torch_kernels_do_not_import_triton() -> None:
    code = "import sys; from pagednb.kernels.kernel_set import torch_kernels as f; f(); print('triton' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"

"""Test set-up that must come before anything imports Triton.

Triton decides at import whether kernels are compiled or interpreted, so one pytest process does one or the other: on a
machine with a CUDA device the kernel tests run on it, elsewhere in Triton's interpreter on CPU tensors.
"""

from __future__ import annotations

import os
import signal
import sys

import pytest
import torch

try:
    import hypothesis
except ImportError:  # the tests of a GPU need none
    pass
else:
    # no example has to be done in a given time: machines are busy
    hypothesis.settings.register_profile("pagednb", deadline=None)
    hypothesis.settings.load_profile("pagednb")

# a shell starts what runs in the background with Ctrl-C ignored: tests that press it would wait for ever
signal.signal(signal.SIGINT, signal.default_int_handler)

HAS_CUDA = torch.cuda.is_available()

if not HAS_CUDA:
    assert "triton" not in sys.modules, "Triton was imported before its interpreter could be chosen"
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session")
def best_device() -> str:
    """Where results are made that transformers makes on the CPU: a GPU if there is one."""
    return "cuda" if HAS_CUDA else "cpu"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``gpu`` on a machine without a CUDA device."""
    if HAS_CUDA:
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)

"""Test set-up that must come before anything imports Triton.

Triton decides at import whether kernels are compiled or interpreted, so one pytest process does one or the other: on a
machine with a CUDA device the kernel tests run on it, elsewhere in Triton's interpreter on CPU tensors.
"""

from __future__ import annotations

import os
import sys

import torch

if not torch.cuda.is_available():
    assert "triton" not in sys.modules, "Triton was imported before its interpreter could be chosen"
    os.environ["TRITON_INTERPRET"] = "1"

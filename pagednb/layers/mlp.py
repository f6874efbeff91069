"""The feed-forward blocks: gated (SwiGLU) and plain. They know linears and one activation each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F

from pagednb.kernels.kernel_set import KernelSet
from pagednb.layers.linear import Linear

Activation = Literal["silu", "relu", "gelu", "gelu_tanh"]

_FUNCTIONS: Mapping[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": F.silu,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
}


class GatedMLP:
    """``down(silu(gate(x)) * up(x))`` with gate and up as one weight."""

    def __init__(self, gate_up: Linear, down: Linear, kernels: KernelSet) -> None:
        self._gate_up = gate_up
        self._down = down
        self._silu_and_mul = kernels.silu_and_mul

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[num_tokens, hidden]`` for ``[num_tokens, hidden]``."""
        return self._down(self._silu_and_mul(self._gate_up(x)))


class PlainMLP:
    """``down(activation(up(x)))``."""

    def __init__(self, up: Linear, down: Linear, activation: Activation) -> None:
        self._up = up
        self._down = down
        self._activation = _FUNCTIONS[activation]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[num_tokens, hidden]`` for ``[num_tokens, hidden]``."""
        return self._down(self._activation(self._up(x)))

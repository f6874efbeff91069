"""Normalisation of the residual stream. ``add`` fuses the sum before it, which is how a decoder meets all but one."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F

from pagednb.kernels.kernel_set import KernelSet


class Norm(Protocol):
    """Normalises ``[num_tokens, hidden]``."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised ``x``."""
        ...

    def add(self, x: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add ``x`` to ``residual`` in place; return the normalised sum and the residual."""
        ...


class RMSNorm:
    """``x / rms(x) * weight``."""

    def __init__(self, weight: torch.Tensor, eps: float, kernels: KernelSet) -> None:
        self._weight = weight
        self._eps = eps
        self._rms_norm = kernels.rms_norm
        self._add_rms_norm = kernels.add_rms_norm

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See ``Norm``."""
        normed: torch.Tensor = self._rms_norm(x, self._weight, self._eps)
        return normed

    def add(self, x: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``Norm.add``."""
        normed, residual = self._add_rms_norm(x, residual, self._weight, self._eps)
        return normed, residual


class LayerNorm:
    """``(x - mean) / std * weight + bias``; weight and bias may be missing."""

    def __init__(self, weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float) -> None:
        self._weight = weight
        self._bias = bias
        self._eps = eps

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See ``Norm``."""
        return F.layer_norm(x, x.shape[-1:], self._weight, self._bias, self._eps)

    def add(self, x: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``Norm.add``."""
        residual.add_(x)
        return self(residual), residual

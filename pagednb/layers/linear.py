"""A matrix product behind a method, so that quantization and adapters can take the place of the plain weight.

A method says which tensors it stores for a product (``create``) and multiplies by them (``apply``). Weight loading
allocates and fills what ``create`` names; a layer sees only ``Linear``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F


class UnquantizedMethod:
    """The weight as it is: ``weight`` ``[out, in]`` and, if there is one, ``bias`` ``[out]``."""

    def __init__(self, linear: Callable[..., torch.Tensor] = F.linear) -> None:
        """``linear(x, weight, bias)`` multiplies."""
        self._linear = linear

    def create(self, in_features: int, out_features: int, *, has_bias: bool) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the tensors to store, by name. Dimension 0 of each runs over output features."""
        shapes: dict[str, tuple[int, ...]] = {"weight": (out_features, in_features)}
        return shapes | {"bias": (out_features,)} if has_bias else shapes

    def apply(self, tensors: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """Return ``x @ weight.T + bias``: ``[num_tokens, out_features]`` for ``[num_tokens, in_features]``."""
        return self._linear(x, tensors["weight"], tensors.get("bias"))


class Linear:
    """One matrix product: a method and the tensors it stored."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], method: UnquantizedMethod) -> None:
        self._tensors = tensors
        self._method = method

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[num_tokens, out_features]`` for ``[num_tokens, in_features]``."""
        return self._method.apply(self._tensors, x)

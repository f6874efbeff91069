"""Rotary position embedding: from a model's rope settings to the cosine and sine table that kernels read.

Built once when a model is loaded; the rotation itself happens in the kernel that also writes K and V to the cache.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch


@dataclasses.dataclass(frozen=True, kw_only=True)
class RopeSpec:
    """Rope of one model.

    Attributes:
        rope_type: a key of ``ROPE_TYPES``.
        head_dim: rotated dimensions of a head (all of them).
        theta: base of the geometric row of wavelengths.
        scaling: what the type needs beside them, by the names in a config's ``rope_parameters``.
    """

    rope_type: str
    head_dim: int
    theta: float
    scaling: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def cos_sin_table(rope: RopeSpec, num_positions: int, device: torch.device) -> torch.Tensor:
    """Return fp32 ``[num_positions, head_dim]``: cosines of the ``head_dim / 2`` angles, then their sines."""
    frequencies, magnitude = ROPE_TYPES[rope.rope_type](rope)
    positions = torch.arange(num_positions, dtype=torch.float32, device=device)
    angles = torch.outer(positions, frequencies.to(device))  # [num_positions, head_dim / 2]
    return torch.cat((angles.cos(), angles.sin()), dim=-1).mul_(magnitude)


def _unscaled(rope: RopeSpec) -> tuple[torch.Tensor, float]:
    exponents = torch.arange(0, rope.head_dim, 2, dtype=torch.float32) / rope.head_dim
    return 1.0 / rope.theta**exponents, 1.0


def _linear(rope: RopeSpec) -> tuple[torch.Tensor, float]:
    """Position interpolation (arXiv 2306.15595): all positions divided by the factor."""
    frequencies, _ = _unscaled(rope)
    return frequencies / rope.scaling["factor"], 1.0


def _llama3(rope: RopeSpec) -> tuple[torch.Tensor, float]:
    """Llama 3.1: slow rotations are interpolated, fast ones kept, those between are blended."""
    frequencies, _ = _unscaled(rope)
    low, high = rope.scaling["low_freq_factor"], rope.scaling["high_freq_factor"]
    turns = rope.scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0.0, 1.0)  # 0 below `low` turns, 1 above `high`
    return frequencies * (kept + (1.0 - kept) / rope.scaling["factor"]), 1.0


def _yarn(rope: RopeSpec) -> tuple[torch.Tensor, float]:
    """YaRN (arXiv 2309.00071): interpolation by parts over dimensions, and sharper attention."""
    frequencies, _ = _unscaled(rope)
    scaling, factor = rope.scaling, rope.scaling["factor"]
    fast = _yarn_dimension(rope, scaling.get("beta_fast", 32))
    slow = _yarn_dimension(rope, scaling.get("beta_slow", 1))
    if scaling.get("truncate", True):
        fast, slow = math.floor(fast), math.ceil(slow)
    fast, slow = max(fast, 0), min(slow, rope.head_dim - 1)
    dimensions = torch.arange(rope.head_dim // 2, dtype=torch.float32)
    interpolated = ((dimensions - fast) / max(slow - fast, 1e-3)).clamp(0.0, 1.0)
    return frequencies * ((1.0 - interpolated) + interpolated / factor), _yarn_magnitude(scaling)


def _yarn_dimension(rope: RopeSpec, num_turns: float) -> float:
    """Dimension whose angle makes ``num_turns`` turns over the original context."""
    context = rope.scaling["original_max_position_embeddings"]
    return rope.head_dim * math.log(context / (num_turns * 2 * math.pi)) / (2 * math.log(rope.theta))


def _yarn_magnitude(scaling: Mapping[str, Any]) -> float:
    if "attention_factor" in scaling:
        return float(scaling["attention_factor"])

    def magnitude(weight: float) -> float:
        return 1.0 if scaling["factor"] <= 1 else 0.1 * weight * math.log(scaling["factor"]) + 1.0

    numerator, denominator = scaling.get("mscale"), scaling.get("mscale_all_dim")
    return magnitude(numerator) / magnitude(denominator) if numerator and denominator else magnitude(1.0)


# "dynamic" stretches theta only beyond the trained positions, and no request may grow beyond those
ROPE_TYPES: Mapping[str, Callable[[RopeSpec], tuple[torch.Tensor, float]]] = {
    "default": _unscaled,
    "dynamic": _unscaled,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
}

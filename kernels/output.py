"""Where an attention op writes: into the caller's tensor, such as a slice of its batch's, or into one of its own."""

from __future__ import annotations

import torch


def output_like(q: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
    """Return ``out`` after checking that it is contiguous and like ``q``, or a new tensor where it is None."""
    if out is None:
        return torch.empty(q.shape, dtype=q.dtype, device=q.device)
    assert out.shape == q.shape, f"queries {list(q.shape)}, out {list(out.shape)}"
    assert out.dtype == q.dtype and out.device == q.device, f"q {q.dtype}, {q.device}; out {out.dtype}, {out.device}"
    assert out.is_contiguous(), f"out must be contiguous, strides are {out.stride()}"
    return out

"""RMSNorm, alone or fused with the residual addition before it. One program holds one row."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.launch import check_rows, overlap_options, row_launch


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Return ``x / rms(x) * weight`` for ``[num_tokens, hidden]``. See reference.rms_norm."""
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    _launch(x, None, weight, out, eps)
    return out


def add_rms_norm(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add ``x`` to ``residual`` in place; return the normalised sum and the residual. See reference.add_rms_norm."""
    check_rows(residual, x.shape[1], like=x)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    _launch(x, residual, weight, out, eps)
    return out, residual


def _launch(
    x: torch.Tensor, residual: torch.Tensor | None, weight: torch.Tensor, out: torch.Tensor, eps: float
) -> None:
    num_tokens, hidden = x.shape
    check_rows(x, hidden, like=out)
    assert weight.shape == (hidden,) and weight.is_contiguous(), f"weight {list(weight.shape)}, hidden {hidden}"
    if num_tokens == 0:
        return
    block, num_warps = row_launch(hidden)
    residual_stride = 0 if residual is None else residual.stride(0)
    overlap = overlap_options(x.device)
    _rms_norm_kernel[(num_tokens,)](
        x,
        residual,
        weight,
        out,
        x.stride(0),
        residual_stride,
        hidden,
        eps,
        BLOCK=block,
        OVERLAP=bool(overlap),
        num_warps=num_warps,
        **overlap,
    )


@triton.jit
def _rms_norm_kernel(
    x_ptr: tl.tensor,
    residual_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    out_ptr: tl.tensor,
    x_stride: tl.tensor,
    residual_stride: tl.tensor,
    hidden: tl.tensor,
    eps: tl.tensor,
    BLOCK: tl.constexpr,
    OVERLAP: tl.constexpr,
) -> None:
    if OVERLAP:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    inside = cols < hidden

    x = tl.load(x_ptr + row * x_stride + cols, mask=inside, other=0.0).to(tl.float32)
    if residual_ptr is not None:
        residual_row = residual_ptr + row * residual_stride + cols
        x += tl.load(residual_row, mask=inside, other=0.0).to(tl.float32)
        # the norm sees the sum as the next layer will read it back: rounded
        rounded = x.to(residual_ptr.dtype.element_ty)
        tl.store(residual_row, rounded, mask=inside)
        x = rounded.to(tl.float32)

    inverse_rms = tl.rsqrt(tl.sum(x * x, axis=0) / hidden + eps)
    weight = tl.load(weight_ptr + cols, mask=inside, other=0.0).to(tl.float32)

    tl.store(out_ptr + row * hidden + cols, (x * inverse_rms * weight).to(out_ptr.dtype.element_ty), mask=inside)

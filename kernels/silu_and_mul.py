"""The gated activation of the MLP, ``silu(gate) * up``, over the fused gate-up projection."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.launch import check_rows, overlap_options

_BLOCK = 2048


def silu_and_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """Return ``silu(gate) * up`` for a packed ``[num_tokens, 2 * intermediate]``. See reference.silu_and_mul."""
    num_tokens, width = gate_up.shape
    assert width % 2 == 0, f"gate and up must be equally wide, got {width} columns in all"
    check_rows(gate_up, width, like=gate_up)
    intermediate = width // 2
    out = torch.empty((num_tokens, intermediate), dtype=gate_up.dtype, device=gate_up.device)
    if num_tokens > 0:
        block = min(_BLOCK, triton.next_power_of_2(intermediate))
        grid = (num_tokens, triton.cdiv(intermediate, block))
        overlap = overlap_options(gate_up.device)
        _silu_and_mul_kernel[grid](
            gate_up, out, intermediate, gate_up.stride(0), BLOCK=block, OVERLAP=bool(overlap), **overlap
        )
    return out


@triton.jit
def _silu_and_mul_kernel(
    gate_up_ptr: tl.tensor,
    out_ptr: tl.tensor,
    intermediate: tl.tensor,
    gate_up_stride: tl.tensor,
    BLOCK: tl.constexpr,
    OVERLAP: tl.constexpr,
) -> None:
    if OVERLAP:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()
    row = tl.program_id(0).to(tl.int64)
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = cols < intermediate

    gate_row = gate_up_ptr + row * gate_up_stride
    gate = tl.load(gate_row + cols, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_row + intermediate + cols, mask=inside, other=0.0).to(tl.float32)

    activated = gate * tl.sigmoid(gate) * up

    tl.store(out_ptr + row * intermediate + cols, activated.to(out_ptr.dtype.element_ty), mask=inside)

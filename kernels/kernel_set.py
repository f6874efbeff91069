"""The ops as one value: what models, runner and sampler are handed instead of importing kernels by name.

Triton is imported only when its set is asked for, so a machine without a GPU never needs it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from pagednb.kernels.row_state import StepInputs


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KernelSet:
    """One implementation of every op. Contracts: the functions of the same names in ``kernels/reference*.py``."""

    linear: Callable[..., torch.Tensor]
    rms_norm: Callable[..., torch.Tensor]
    add_rms_norm: Callable[..., tuple[torch.Tensor, torch.Tensor]]
    silu_and_mul: Callable[..., torch.Tensor]
    rope_and_cache: Callable[..., torch.Tensor]
    paged_prefill_attention: Callable[..., torch.Tensor]
    paged_decode_attention: Callable[..., torch.Tensor]
    shared_prefix_attention: Callable[..., torch.Tensor]
    apply_token_masks: Callable[..., None]
    sample_tokens: Callable[..., torch.Tensor]
    token_logprobs: Callable[..., tuple[torch.Tensor, torch.Tensor]]
    step_inputs: Callable[..., StepInputs]
    advance_rows: Callable[..., None]


def torch_kernels() -> KernelSet:
    """Return the plain torch implementations: any device, any float dtype."""
    from pagednb.kernels import (
        reference,
        reference_attention,
        reference_logprobs,
        reference_sampling,
        reference_step,
    )

    return KernelSet(
        linear=reference.linear,
        rms_norm=reference.rms_norm,
        add_rms_norm=reference.add_rms_norm,
        silu_and_mul=reference.silu_and_mul,
        rope_and_cache=reference.rope_and_cache,
        paged_prefill_attention=reference_attention.paged_prefill_attention,
        paged_decode_attention=reference_attention.paged_decode_attention,
        shared_prefix_attention=reference_attention.shared_prefix_attention,
        apply_token_masks=reference_sampling.apply_token_masks,
        sample_tokens=reference_sampling.sample_tokens,
        token_logprobs=reference_logprobs.token_logprobs,
        step_inputs=reference_step.step_inputs,
        advance_rows=reference_step.advance_rows,
    )


def triton_kernels() -> KernelSet:
    """Return the Triton implementations: CUDA tensors (or CPU tensors under Triton's interpreter)."""
    from pagednb.kernels import (
        advance_rows,
        apply_token_masks,
        few_rows_linear,
        paged_decode_attention,
        paged_prefill_attention,
        rms_norm,
        rope_and_cache,
        sample_tokens,
        shared_prefix_attention,
        silu_and_mul,
        step_inputs,
        token_logprobs,
    )

    return KernelSet(
        linear=few_rows_linear.linear,
        rms_norm=rms_norm.rms_norm,
        add_rms_norm=rms_norm.add_rms_norm,
        silu_and_mul=silu_and_mul.silu_and_mul,
        rope_and_cache=rope_and_cache.rope_and_cache,
        paged_prefill_attention=paged_prefill_attention.paged_prefill_attention,
        paged_decode_attention=paged_decode_attention.paged_decode_attention,
        shared_prefix_attention=shared_prefix_attention.shared_prefix_attention,
        apply_token_masks=apply_token_masks.apply_token_masks,
        sample_tokens=sample_tokens.sample_tokens,
        token_logprobs=token_logprobs.token_logprobs,
        step_inputs=step_inputs.step_inputs,
        advance_rows=advance_rows.advance_rows,
    )


def select_kernels(device: torch.device) -> KernelSet:
    """Return the kernels for a device: Triton on CUDA, plain torch elsewhere."""
    return triton_kernels() if device.type == "cuda" else torch_kernels()

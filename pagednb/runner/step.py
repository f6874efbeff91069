"""A step on the device: gather inputs, run the model, sample, feed the tokens back; again for every decode step.

Eager steps and captures run the same code. Nothing here waits for the device or depends on its values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from pagednb.forward_batch import ForwardBatch
from pagednb.kernels.row_state import StepInputs
from pagednb.runner.device_parts import DeviceParts
from pagednb.runner.pooling import pool
from pagednb.runner.prompt_scoring import PromptScorer
from pagednb.runner.step_buffer import StepBuffer
from pagednb.runner.step_shape import StepShape
from pagednb.sampling.logprobs import LogprobTensors
from pagednb.sampling.sampler import SamplingInputs
from pagednb.scheduler.output import EMPTY_ROWS, SampleFailure, SchedulerOutput


class StepTokens(NamedTuple):
    """What a step sampled, still on the device.

    Attributes:
        token_ids: int64 ``[n, num_steps]``, valid on the current stream until the next step is launched.
        where: the rows of ``token_ids`` that count, in order of sampled rows.
        logprobs: of the rows that asked.
        prompt_logprobs: of the prompt tokens that the plan's chunks score.
        failures: sampled rows whose callers' code failed.
        pooled: float32 ``[num_pooled, hidden_size]``, what the plan's chunks add to embeddings.
        host_copies: host tensors like ``token_ids`` that are free; whoever takes one puts it back. None when it is not
            worth keeping any.
    """

    token_ids: torch.Tensor
    where: np.ndarray | slice = slice(None)
    logprobs: LogprobTensors | None = None
    prompt_logprobs: LogprobTensors | None = None
    failures: tuple[SampleFailure, ...] = ()
    pooled: torch.Tensor | None = None
    host_copies: list[torch.Tensor] | None = None


def run_eagerly(parts: DeviceParts, plan: SchedulerOutput, shape: StepShape) -> StepTokens:
    """Run ``plan``, whose diff is applied and whose sizes are ``shape``, kernel by kernel."""
    num_sampled = len(plan.sampled_rows)
    buffer = StepBuffer(
        shape,
        scratch_row=parts.state.scratch_row,
        device=parts.state.device,
        num_sampled=num_sampled if num_sampled < shape.num_seqs else None,
    )
    buffer.fill(plan)
    token_ids = torch.empty((num_sampled, shape.num_steps), dtype=torch.int64, device=parts.state.device)
    logprobs = prompt_logprobs = pooled = None
    for step in range(shape.num_steps):
        if plan.has_scoring or plan.has_pooling:
            inputs, every = _forward(parts, buffer, shape, wants_all=True)
            hidden = every[inputs.sample_indices]
            prompt_logprobs = _score_prompts(parts, shape, plan, every) if plan.has_scoring else None
            pooled = pool(plan, every, num_decodes=shape.num_decodes) if plan.has_pooling else None
        else:
            inputs, hidden = _forward(parts, buffer, shape)
        sampled = token_ids[:, step]
        if num_sampled:
            sampling = _sampling_inputs(inputs, plan.sampled_rows, buffer.mask_rows)
            sampled, logprobs = parts.sampler.sample(hidden, parts.model.compute_logits, sampling)
        parts.state.advance(inputs, sampled, out=token_ids[:, step])
    assert logprobs is None or shape.num_steps == 1, "logprobs are read after every step"
    failures = parts.sampler.take_failures() if plan.logits_calls else ()
    return StepTokens(token_ids, logprobs=logprobs, prompt_logprobs=prompt_logprobs, failures=failures, pooled=pooled)


def run_plain(parts: DeviceParts, buffer: StepBuffer, shape: StepShape) -> torch.Tensor:
    """Run the plain rows that ``buffer`` holds, padding included; return all tokens, ``[num_seqs, num_steps]``.

    Looks at nothing on the host, so it can be captured. A chunk that does not end its prompt samples like the others:
    nobody reads that token, and the prompt's last chunk replaces it.
    """
    token_ids = torch.empty((shape.num_seqs, shape.num_steps), dtype=torch.int64, device=parts.state.device)
    for step in range(shape.num_steps):
        inputs, hidden = _forward(parts, buffer, shape)
        sampling = _sampling_inputs(inputs, EMPTY_ROWS, buffer.mask_rows)
        sampled = parts.sampler.sample_plain(
            hidden, parts.model.compute_logits, sampling, has_filters=shape.has_filters
        )
        parts.state.advance(inputs, sampled, out=token_ids[:, step])
    return token_ids


def _score_prompts(
    parts: DeviceParts, shape: StepShape, plan: SchedulerOutput, hidden: torch.Tensor
) -> LogprobTensors | None:
    """Return the logprobs of the prompt tokens that ``plan`` scores; ``hidden`` is of all tokens."""
    scorer = PromptScorer(plan, num_decodes=shape.num_decodes, device=parts.state.device)
    return scorer.score(hidden, parts.model.compute_logits, vocab_size=parts.model.spec.vocab_size)


def _forward(
    parts: DeviceParts, buffer: StepBuffer, shape: StepShape, *, wants_all: bool = False
) -> tuple[StepInputs, torch.Tensor]:
    """Return one pass's inputs and its hidden states ``[num_sampled or num_tokens, hidden]``."""
    inputs = parts.state.step_inputs(
        buffer.rows, max_seq_len=shape.context, chunks=buffer.chunks, sampled_seqs=buffer.sampled_seqs
    )
    batch = ForwardBatch(
        input_ids=inputs.input_ids,
        positions=inputs.positions,
        slot_mapping=inputs.slot_mapping,
        query_start_loc=inputs.query_start_loc,
        seq_lens=inputs.seq_lens,
        block_tables=inputs.block_tables,
        sample_indices=torch.arange(shape.num_tokens, device=parts.state.device)
        if wants_all
        else inputs.sample_indices,
        num_decodes=shape.num_decodes,
        max_query_len=shape.max_query_len,
        max_seq_len=shape.context,
        shared_prefix_lens=buffer.shared_prefix_lens,
    )
    return inputs, parts.model.forward(batch, parts.kv_store)


def _sampling_inputs(inputs: StepInputs, host_rows: np.ndarray, mask_rows: torch.Tensor | None) -> SamplingInputs:
    return SamplingInputs(
        rows=host_rows,
        temperature=inputs.temperature,
        top_k=inputs.top_k,
        top_p=inputs.top_p,
        min_p=inputs.min_p,
        seeds=inputs.seeds,
        positions=inputs.sampled_positions,
        mask_rows=mask_rows,
    )

"""Repetition, presence and frequency penalties: token counts on the device for the rows that ask for them.

Counts are rebuilt at admission (also after preemption, from the tokens the admission carries) and then fed by the
sampled tokens on the device, so steps may be launched before their tokens are read.
"""

from __future__ import annotations

import numpy as np
import torch

from pagednb.sampling.row_features import RowSlots
from pagednb.sampling.transfer import to_device
from pagednb.scheduler.output import Admission

_MIN_CAPACITY = 4
# rows treated at once: a few temporaries of [rows, vocab] live at the same time
_CHUNK_ROWS = 64


class Penalties:
    """Penalised rows: repetition over prompt and output, presence and frequency over the output."""

    def __init__(self, num_rows: int, vocab_size: int, device: torch.device) -> None:
        self._slots = RowSlots(num_rows)
        self._output_counts = torch.zeros((0, vocab_size), dtype=torch.int32, device=device)  # [num_slots, vocab]
        self._in_prompt = torch.zeros((0, vocab_size), dtype=torch.bool, device=device)  # [num_slots, vocab]
        self._strengths = torch.zeros((0, 3), dtype=torch.float32, device=device)  # repetition, presence, frequency

    def admit(self, admission: Admission) -> None:
        """Count the tokens known so far when the row is penalised."""
        params = admission.sampling_params
        if not params.has_penalties:
            return
        slot = self._slots.take(admission.row)
        self._reserve(self._slots.num_slots)
        strengths = (params.repetition_penalty, params.presence_penalty, params.frequency_penalty)
        arrays: dict[str, np.ndarray] = {
            "token_ids": admission.token_ids.astype(np.int64),
            "strengths": np.array(strengths, dtype=np.float32),
        }
        sent = to_device(arrays, self._strengths.device)
        prompt = sent["token_ids"][: admission.num_prompt_tokens]
        output = sent["token_ids"][admission.num_prompt_tokens :]
        self._strengths[slot] = sent["strengths"]
        self._in_prompt[slot].zero_().index_fill_(0, prompt, True)
        self._output_counts[slot].zero_().index_add_(0, output, torch.ones_like(output, dtype=torch.int32))

    def release(self, rows: np.ndarray) -> None:
        """Forget ``rows``."""
        self._slots.release(rows)

    def apply(self, logits: torch.Tensor, rows: np.ndarray) -> None:
        """Penalise ``logits`` ``[num_rows, vocab]`` of ``rows`` in place."""
        where, slots = self._slots.select(rows)
        if not len(where):
            return
        sent = to_device({"where": where, "slots": slots}, logits.device)
        for start in range(0, len(where), _CHUNK_ROWS):
            index = sent["where"][start : start + _CHUNK_ROWS]
            logits[index] = self._penalised(logits[index], sent["slots"][start : start + _CHUNK_ROWS])

    def record(self, token_ids: torch.Tensor, rows: np.ndarray) -> None:
        """Count the tokens just sampled: ``token_ids`` int64 ``[num_rows]``, negative where a row could not be."""
        where, slots = self._slots.select(rows)
        if not len(where):
            return
        sent = to_device({"where": where, "slots": slots}, token_ids.device)
        ones = torch.ones_like(sent["slots"], dtype=torch.int32)
        self._output_counts.index_put_((sent["slots"], token_ids[sent["where"]].clamp(min=0)), ones, accumulate=True)

    def _penalised(self, logits: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        counts = self._output_counts[slots]
        repetition, presence, frequency = self._strengths[slots].unsqueeze(-1).unbind(1)  # each [num_rows, 1]
        has_output = counts > 0
        repeated = torch.where(logits > 0, logits / repetition, logits * repetition)
        logits = torch.where(has_output | self._in_prompt[slots], repeated, logits)
        return logits.sub_(frequency * counts).sub_(presence * has_output)

    def _reserve(self, num_slots: int) -> None:
        capacity = self._strengths.shape[0]
        if num_slots <= capacity:
            return
        num_new = max(2 * capacity, num_slots, _MIN_CAPACITY) - capacity
        self._output_counts = _with_more_rows(self._output_counts, num_new)
        self._in_prompt = _with_more_rows(self._in_prompt, num_new)
        self._strengths = _with_more_rows(self._strengths, num_new)


def _with_more_rows(table: torch.Tensor, num_new: int) -> torch.Tensor:
    return torch.cat([table, table.new_zeros((num_new, table.shape[1]))])

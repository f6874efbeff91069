"""Values added to a few logits of a row: ``logit_bias``, and minus infinity on stop tokens while ``min_tokens`` holds.

Each user of the feature has a slot in device tables of (token id, value, limit): the value counts for tokens whose
index in the sequence is below the limit. The device compares, so steps may be launched before their tokens are read.
"""

from __future__ import annotations

import numpy as np
import torch

from pagednb.sampling.row_features import RowSlots
from pagednb.sampling.transfer import to_device
from pagednb.scheduler.output import Admission

_ALWAYS = np.iinfo(np.int64).max
_MIN_CAPACITY = 8


class TokenBiases:
    """Adds the biases of the rows that have some; ``eos_token_ids`` are what ``min_tokens`` holds back."""

    def __init__(self, num_rows: int, *, vocab_size: int, eos_token_ids: tuple[int, ...], device: torch.device) -> None:
        self._slots = RowSlots(num_rows)
        self._vocab_size = vocab_size
        self._eos_token_ids = eos_token_ids
        # each [num_slots, width], padded with (0, 0.0, 0), which adds nothing to token 0
        self._token_ids = torch.zeros((0, 0), dtype=torch.int64, device=device)
        self._values = torch.zeros((0, 0), dtype=torch.float32, device=device)
        self._limits = torch.zeros((0, 0), dtype=torch.int64, device=device)

    def admit(self, admission: Admission) -> None:
        """Give the row a slot when its parameters add to any logit."""
        entries = self._entries(admission)
        if not entries:
            return
        slot = self._slots.take(admission.row)
        self._reserve(self._slots.num_slots, len(entries))
        width = self._token_ids.shape[1]
        padded = entries + [(0, 0.0, 0)] * (width - len(entries))
        token_ids, values, limits = zip(*padded, strict=True)
        arrays: dict[str, np.ndarray] = {
            "token_ids": np.array(token_ids, dtype=np.int64),
            "values": np.array(values, dtype=np.float32),
            "limits": np.array(limits, dtype=np.int64),
        }
        sent = to_device(arrays, self._token_ids.device)
        self._token_ids[slot] = sent["token_ids"]
        self._values[slot] = sent["values"]
        self._limits[slot] = sent["limits"]

    def release(self, rows: np.ndarray) -> None:
        """Forget ``rows``."""
        self._slots.release(rows)

    def apply(self, logits: torch.Tensor, rows: np.ndarray, positions: torch.Tensor) -> None:
        """Add to ``logits`` ``[num_rows, vocab]`` in place; ``positions`` int64 is each sampled token's index."""
        where, slots = self._slots.select(rows)
        if not len(where):
            return
        sent = to_device({"where": where, "slots": slots}, logits.device)
        index, slot = sent["where"], sent["slots"]
        holds = positions[index, None] < self._limits[slot]
        values = torch.where(holds, self._values[slot], 0.0)
        logits.index_put_((index[:, None], self._token_ids[slot]), values, accumulate=True)

    def _entries(self, admission: Admission) -> list[tuple[int, float, int]]:
        params = admission.sampling_params
        entries = [(token_id, float(bias), _ALWAYS) for token_id, bias in (params.logit_bias or {}).items()]
        if params.min_tokens:
            held_back = sorted({*self._eos_token_ids, *(params.stop_token_ids or ())})
            limit = admission.num_prompt_tokens + params.min_tokens
            entries += [(token_id, float("-inf"), limit) for token_id in held_back]
        # a token outside the vocabulary is never sampled; its index would fault on the device
        return [entry for entry in entries if entry[0] < self._vocab_size]

    def _reserve(self, num_slots: int, width: int) -> None:
        old_slots, old_width = self._token_ids.shape
        if num_slots <= old_slots and width <= old_width:
            return
        shape = (max(2 * old_slots, num_slots, _MIN_CAPACITY), max(old_width, _next_power_of_two(width)))
        self._token_ids = _grown(self._token_ids, shape)
        self._values = _grown(self._values, shape)
        self._limits = _grown(self._limits, shape)


def _grown(table: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    grown = table.new_zeros(shape)
    grown[: table.shape[0], : table.shape[1]] = table
    return grown


def _next_power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()

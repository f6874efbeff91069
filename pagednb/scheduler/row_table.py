"""Progress of the running requests: one row each, one NumPy array a field, so that a step treats all rows at once.

Counters run ahead of what the host knows: scheduling a step advances them, since the next step may be scheduled before
its tokens are read. In the life of a row::

    0 ........ num_computed ........ num_tokens ........ max_total
               KV computed or        tokens known or     sampled its last token
               in flight             in flight           when num_tokens is here

    num_known <= num_tokens: the host has seen these; the difference is in flight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pagednb.kv_cache.block_manager import with_columns
from pagednb.scheduler.sequence import Sequence

NO_REQUEST = -1
_MIN_OUTPUT_COLUMNS = 64


class Newcomer(NamedTuple):
    """A row's new owner: ``num_computed`` of its ``num_known`` tokens will be; ``samples`` if that is all of them."""

    row: int
    sequence: Sequence
    num_known: int
    num_computed: int
    samples: bool


class RowTable:
    """Rows of running requests. Arrays are ``[max_num_seqs]``; those of a free row mean nothing unless stated."""

    def __init__(self, max_num_seqs: int) -> None:
        def zeros(dtype: type = np.int64) -> np.ndarray:
            return np.zeros(max_num_seqs, dtype=dtype)

        self.request_ids = np.full(max_num_seqs, NO_REQUEST, dtype=np.int64)  # NO_REQUEST in a free row
        self.num_prompt = zeros()
        self.num_computed = zeros()  # 0 in a free row
        self.num_tokens = zeros()
        self.num_known = zeros()
        self.max_total = zeros()  # 0 in a free row
        self.first_step = zeros()  # the step that admitted the row's request
        self.decodes_since = zeros()  # the step in which its last prefill chunk runs; decodes follow
        self.is_decoding = zeros(np.bool_)  # False in a free row, and once num_tokens == max_total
        self.ends_at_eos = zeros(np.bool_)
        self.has_stop_ids = zeros(np.bool_)
        self.wants_updates = zeros(np.bool_)
        self.is_stepwise = zeros(np.bool_)  # needs the host between two tokens; False in a free row
        self.num_stepwise = 0
        self.is_constrained = zeros(np.bool_)  # has a grammar; False in a free row
        self.num_constrained = 0
        self.sequences: list[Sequence | None] = [None] * max_num_seqs
        self.row_of: dict[int, int] = {}  # request id -> row
        self.prefilling: list[int] = []  # rows whose known tokens are not all scheduled
        self._outputs = np.zeros((max_num_seqs, _MIN_OUTPUT_COLUMNS), dtype=np.int32)
        self._free_rows = list(range(max_num_seqs - 1, -1, -1))
        self._decode_rows: np.ndarray | None = None

    @property
    def num_running(self) -> int:
        """Rows taken."""
        return len(self.row_of)

    @property
    def has_free_row(self) -> bool:
        """Whether ``take`` would succeed."""
        return bool(self._free_rows)

    @property
    def decode_rows(self) -> np.ndarray:
        """Rows that decode in the next step, int32, rising. The same object until the membership changes."""
        if self._decode_rows is None:
            self._decode_rows = np.flatnonzero(self.is_decoding).astype(np.int32)
            self._decode_rows.setflags(write=False)
        return self._decode_rows

    @property
    def ready_rows(self) -> np.ndarray:
        """``decode_rows`` less those that wait for their token: what may follow it is not known before."""
        rows = self.decode_rows
        if not self.num_constrained:
            return rows
        waits = self.is_constrained[rows] & (self.num_known[rows] < self.num_tokens[rows])
        return rows[~waits] if waits.any() else rows

    def output(self, row: int) -> np.ndarray:
        """Return the known output of a taken row, int32; a view, valid until something is appended."""
        return self._outputs[row, : self.num_known[row] - self.num_prompt[row]]

    def sequence(self, row: int) -> Sequence:
        """Return the owner of a taken row."""
        sequence = self.sequences[row]
        assert sequence is not None, f"row {row} is free"
        return sequence

    def reserve_row(self) -> int:
        """Return a free row; ``take`` must follow before anything else reads the table."""
        return self._free_rows.pop()

    def take(self, newcomers: list[Newcomer], *, step: int) -> None:
        """Give reserved rows to their owners; tokens up to ``num_computed`` are computed in plan ``step``."""
        rows = np.array([newcomer.row for newcomer in newcomers], dtype=np.int64)
        numbers = np.array([_numbers(newcomer) for newcomer in newcomers], dtype=np.int64).T
        self.request_ids[rows], self.num_prompt[rows], self.max_total[rows] = numbers[:3]
        self.num_computed[rows], self.num_known[rows], self.num_tokens[rows] = numbers[3:]
        self.first_step[rows] = self.decodes_since[rows] = step
        flags = np.array([_flags(newcomer) for newcomer in newcomers], dtype=np.bool_).T
        self.ends_at_eos[rows], self.has_stop_ids[rows], self.wants_updates[rows], self.is_stepwise[rows] = flags[:4]
        self.is_constrained[rows] = flags[4]
        self.is_decoding[rows] = flags[5] & (self.num_tokens[rows] < self.max_total[rows])
        self.num_stepwise += int(np.count_nonzero(flags[3]))
        self.num_constrained += int(np.count_nonzero(flags[4]))
        self._decode_rows = None
        for row, sequence, _, _, samples in newcomers:
            self.sequences[row] = sequence
            self.row_of[sequence.request.request_id] = row
            if not samples:
                self.prefilling.append(row)
            if num_output := len(sequence.output_token_ids):
                self._reserve_output(num_output)
                self._outputs[row, :num_output] = sequence.output_token_ids

    def advance_decodes(self, rows: np.ndarray, num_new: np.ndarray | int = 1) -> None:
        """Each of ``rows`` computes ``num_new`` tokens, one number or one a row, and samples the token after each."""
        self.num_computed[rows] += num_new
        num_tokens = self.num_tokens[rows] + num_new
        self.num_tokens[rows] = num_tokens
        is_last = num_tokens == self.max_total[rows]
        if is_last.any():
            self.is_decoding[rows[is_last]] = False
            self._decode_rows = None

    def advance_prefill(self, row: int, num_scheduled: int, *, step: int) -> bool:
        """Compute the next ``num_scheduled`` known tokens; return whether they are the last: then one is sampled."""
        self.num_computed[row] += num_scheduled
        if self.num_computed[row] < self.num_tokens[row]:
            return False
        self.prefilling.remove(row)
        self.num_tokens[row] += 1
        self.decodes_since[row] = step
        self.is_decoding[row] = self.num_tokens[row] < self.max_total[row]
        self._decode_rows = None
        return True

    def is_current(self, rows: np.ndarray, request_ids: np.ndarray, step: int) -> np.ndarray:
        """Return bool ``[num_rows]``: whether the row's owner in plan ``step`` has kept it ever since."""
        is_current: np.ndarray = (self.request_ids[rows] == request_ids) & (self.first_step[rows] <= step)
        return is_current

    def append(self, rows: np.ndarray, token_ids: np.ndarray) -> None:
        """Note one sampled token for each of ``rows``; ``token_ids`` ``[num_rows]``."""
        num_known = self.num_known[rows]
        columns = num_known - self.num_prompt[rows]
        self._reserve_output(int(columns.max()) + 1)
        self._outputs[rows, columns] = token_ids
        self.num_known[rows] = num_known + 1

    def release(self, rows: list[int]) -> list[Sequence]:
        """Free rows and return their owners, whose ``output_token_ids`` then hold all that is known."""
        owners = [self.sequence(row) for row in rows]
        num_outputs = (self.num_known[rows] - self.num_prompt[rows]).tolist()
        for row, owner, num_output in zip(rows, owners, num_outputs, strict=True):
            owner.output_token_ids = self._outputs[row, :num_output].copy()
            self.sequences[row] = None
            del self.row_of[owner.request.request_id]
            if row in self.prefilling:
                self.prefilling.remove(row)
        self.num_stepwise -= int(np.count_nonzero(self.is_stepwise[rows]))
        self.num_constrained -= int(np.count_nonzero(self.is_constrained[rows]))
        self.request_ids[rows] = NO_REQUEST
        self.num_computed[rows] = self.max_total[rows] = 0
        self.is_decoding[rows] = self.is_stepwise[rows] = self.is_constrained[rows] = False
        self._decode_rows = None
        self._free_rows += rows
        return owners

    def _reserve_output(self, num_columns: int) -> None:
        if num_columns > self._outputs.shape[1]:
            self._outputs = with_columns(self._outputs, num_columns)

    def check_integrity(self) -> None:
        """Raise AssertionError, with numbers, unless the fields of every row agree."""
        taken = np.flatnonzero(self.request_ids != NO_REQUEST)
        owners = {request_id: row for row, request_id in enumerate(self.request_ids.tolist()) if request_id >= 0}
        assert owners == self.row_of, f"rows say {owners}, requests say {self.row_of}"
        assert sorted([*self._free_rows, *owners.values()]) == list(range(len(self.request_ids))), "a row is lost"
        for row, sequence in enumerate(self.sequences):
            owner = NO_REQUEST if sequence is None else sequence.request.request_id
            assert owner == self.request_ids[row], f"row {row} belongs to {self.request_ids[row]} and to {owner}"
        free = np.array(self._free_rows, dtype=np.int64)
        assert not self.is_decoding[free].any() and not self.num_computed[free].any(), "a free row is at work"
        known, tokens, total = self.num_known[taken], self.num_tokens[taken], self.max_total[taken]
        assert (self.num_prompt[taken] <= known).all() and (known <= tokens).all() and (tokens <= total).all(), (
            f"known {known}, with tokens in flight {tokens}, at most {total}"
        )
        assert self.num_stepwise == self.is_stepwise.sum() == self.is_stepwise[taken].sum(), self.num_stepwise
        assert self.num_constrained == self.is_constrained.sum() == self.is_constrained[taken].sum()
        assert (tokens - known <= 1)[self.is_constrained[taken]].all(), "a constrained row ran ahead of its tokens"
        computed = self.num_computed[taken]
        is_prefilling = np.isin(taken, self.prefilling)
        assert len(set(self.prefilling)) == len(self.prefilling) == is_prefilling.sum(), f"{self.prefilling} prefill"
        assert (tokens - computed == 1)[~is_prefilling].all(), "a decoding row has not one token to compute"
        assert (tokens > computed)[is_prefilling].all(), "a prefilling row has nothing to compute"
        expected = ~is_prefilling & (tokens < total)
        assert (self.is_decoding[taken] == expected).all(), f"decoding: {taken[self.is_decoding[taken] != expected]}"


def _numbers(newcomer: Newcomer) -> tuple[int, int, int, int, int, int]:
    """Request, prompt, most tokens, computed, known, with the one in flight."""
    request, num_known = newcomer.sequence.request, newcomer.num_known
    num_prompt = len(request.prompt_token_ids)
    return (
        request.request_id,
        num_prompt,
        num_prompt + request.max_tokens,
        newcomer.num_computed,
        num_known,
        num_known + newcomer.samples,
    )


def _flags(newcomer: Newcomer) -> tuple[bool, bool, bool, bool, bool, bool]:
    """Ends at EOS, has stop ids, wants updates, is stepwise, is constrained, samples."""
    request, params = newcomer.sequence.request, newcomer.sequence.request.sampling_params
    return (
        not params.ignore_eos,
        bool(params.stop_token_ids),
        request.wants_updates,
        params.needs_host_each_step or request.grammar is not None,
        request.grammar is not None,
        newcomer.samples,
    )

"""Progress of the running requests: one row each, one NumPy array a field, so that a step treats all rows at once.

Counters run ahead of what the host knows: scheduling a step advances them, since the next step may be scheduled before
its tokens are read. In the life of a row::

    0 ........ num_computed ........ num_tokens ........ max_total
               KV computed or        tokens known or     sampled its last token
               in flight             in flight           when num_tokens is here

    num_known <= num_tokens: the host has seen these; the difference is in flight.

A row that decodes has one token to compute, the last one. One that was given forced tokens has a run of them: it
computes them in one go, as a prompt's chunk, and decodes again from the token that is sampled after it.
"""

from __future__ import annotations

import numpy as np

from pagednb.kv_cache.block_manager import with_columns
from pagednb.scheduler.newcomer import Newcomer
from pagednb.scheduler.sequence import Sequence

NO_REQUEST = -1
_MIN_OUTPUT_COLUMNS = 64
_NO_ROWS = np.empty(0, dtype=np.int32)


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
        self.is_constrained = zeros(np.bool_)  # goes by its output; False in a free row
        self.num_constrained = 0
        self.takes_runs = zeros(np.bool_)  # may be given forced tokens; False in a free row
        self.is_unread = zeros(np.bool_)  # takes runs, and has a token that nobody asked its grammar about
        self.has_run = zeros(np.bool_)  # was given tokens that are not all scheduled; False in a free row
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

    @property
    def run_rows(self) -> np.ndarray:
        """Rows that have a run, int32, rising."""
        if not self.num_constrained:
            return _NO_ROWS
        rows: np.ndarray = np.flatnonzero(self.has_run).astype(np.int32)
        return rows

    def num_pending(self, rows: np.ndarray) -> np.ndarray:
        """Return int64 ``[num_rows]``: tokens to compute, 1 in a row that decodes."""
        num_pending: np.ndarray = self.num_tokens[rows] - self.num_computed[rows]
        return num_pending

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
        numbers = np.array([newcomer.numbers for newcomer in newcomers], dtype=np.int64).T
        self.request_ids[rows], self.num_prompt[rows], self.max_total[rows] = numbers[:3]
        self.num_computed[rows], self.num_known[rows], self.num_tokens[rows] = numbers[3:]
        self.first_step[rows] = self.decodes_since[rows] = step
        flags = np.array([newcomer.flags for newcomer in newcomers], dtype=np.bool_).T
        self.ends_at_eos[rows], self.has_stop_ids[rows], self.wants_updates[rows], self.is_stepwise[rows] = flags[:4]
        self.is_constrained[rows], self.takes_runs[rows] = flags[4:6]
        self.is_decoding[rows] = flags[6] & (self.num_tokens[rows] < self.max_total[rows])
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

    def append_run(self, row: int, token_ids: np.ndarray) -> None:
        """Give a decoding row, none of whose tokens is in flight, known tokens: fewer than it has left to sample."""
        num_known, num_new = int(self.num_known[row]), len(token_ids)
        assert self.is_decoding[row] and num_known == self.num_tokens[row], f"row {row} cannot take a run"
        assert 0 < num_new < self.max_total[row] - num_known, f"{num_new} tokens do not fit row {row}"
        column = num_known - int(self.num_prompt[row])
        self._reserve_output(column + num_new)
        self._outputs[row, column : column + num_new] = token_ids
        self.num_known[row] = self.num_tokens[row] = num_known + num_new
        self.has_run[row], self.is_decoding[row] = True, False
        self._decode_rows = None

    def advance_runs(self, rows: np.ndarray, num_new: np.ndarray) -> np.ndarray:
        """Compute the next ``num_new`` tokens of runs; return bool ``[num_rows]``, where they end: one is sampled."""
        self.num_computed[rows] += num_new
        ends: np.ndarray = self.num_computed[rows] == self.num_tokens[rows]
        ended = rows[ends]
        self.num_tokens[ended] += 1
        self.has_run[ended] = False
        self.is_decoding[ended] = self.num_tokens[ended] < self.max_total[ended]
        self._decode_rows = None
        return ends

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
        if self.num_constrained:
            self.is_unread[rows] = self.takes_runs[rows]

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
        for flags in (self.is_decoding, self.is_stepwise, self.is_constrained, self.takes_runs, self.is_unread):
            flags[rows] = False
        self.has_run[rows] = False
        self._decode_rows = None
        self._free_rows += rows
        return owners

    def _reserve_output(self, num_columns: int) -> None:
        if num_columns > self._outputs.shape[1]:
            self._outputs = with_columns(self._outputs, num_columns)

    def check_free_rows(self) -> None:
        """Raise AssertionError unless every row is free or taken."""
        assert sorted([*self._free_rows, *self.row_of.values()]) == list(range(len(self.request_ids))), "a row is lost"

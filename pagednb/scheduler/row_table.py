"""The running requests as a struct of arrays: one row each, so that a decode step is a handful of NumPy operations.

Two counts describe a row. ``num_tokens`` is the length of its sequence, a token that is being sampled included;
``num_scheduled`` is how many of those have their KV computed or under way. Both advance when a step is planned, so the
next step can be planned before this one's tokens are known; ``num_known`` follows when they are::

    |<------------------- num_known ------------------->|  in flight  |
    |<-------------------------- num_tokens ------------------------->|
    |<----------------- num_scheduled (decode: num_tokens - 1) ---->|
"""

from __future__ import annotations

import numpy as np

from pagednb.request import Request
from pagednb.scheduler.waiting_queue import WaitingRequest

FREE = -1


class RowTable:
    """Rows of running requests. ``request_ids`` is FREE where nobody runs."""

    def __init__(self, num_rows: int, max_model_len: int) -> None:
        self.request_ids = np.full(num_rows, FREE, dtype=np.int64)
        self.num_known = np.zeros(num_rows, dtype=np.int32)
        self.num_tokens = np.zeros(num_rows, dtype=np.int32)
        self.num_scheduled = np.zeros(num_rows, dtype=np.int32)
        self.max_total = np.zeros(num_rows, dtype=np.int32)
        self.stops_at_eos = np.zeros(num_rows, dtype=bool)
        self.is_watched = np.zeros(num_rows, dtype=bool)  # each token needs Python: reported, or may be a stop token
        self.is_decoding = np.zeros(num_rows, dtype=bool)
        # untouched pages of this array cost no memory: the system maps them when they are written
        self.token_ids = np.zeros((num_rows, max_model_len), dtype=np.int32)
        self.entries: dict[int, WaitingRequest] = {}  # row -> what runs there
        self._rows: dict[int, int] = {}  # request id -> row
        self._free = list(range(num_rows - 1, -1, -1))

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def has_free_row(self) -> bool:
        """Whether one more request can run."""
        return bool(self._free)

    def row_of(self, request_id: int) -> int | None:
        """Return the row of a running request."""
        return self._rows.get(request_id)

    def request(self, row: int) -> Request:
        """Return the request that runs in ``row``."""
        return self.entries[row].request

    def rows_in_order(self) -> list[int]:
        """Return the rows in use, first to run first."""
        return sorted(self.entries, key=lambda row: self.entries[row].order)

    def take(self, entry: WaitingRequest, *, num_computed_tokens: int) -> int:
        """Give ``entry`` a row in which ``num_computed_tokens`` need not be computed; return the row."""
        row, request = self._free.pop(), entry.request
        params = request.sampling_params
        self.entries[row] = entry
        self._rows[request.request_id] = row
        self.request_ids[row] = request.request_id
        self.token_ids[row, : entry.num_tokens] = entry.token_ids()
        self.num_known[row] = self.num_tokens[row] = entry.num_tokens
        self.num_scheduled[row] = num_computed_tokens
        self.max_total[row] = request.max_total_tokens
        self.stops_at_eos[row] = not params.ignore_eos
        self.is_watched[row] = request.wants_updates or bool(params.stop_token_ids)
        self.is_decoding[row] = False
        return row

    def leave(self, row: int) -> WaitingRequest:
        """Free a row; return what ran there, with its output so far."""
        output_token_ids = self.output_token_ids(row)
        entry = self.entries.pop(row)
        entry.output_token_ids = output_token_ids
        del self._rows[entry.request.request_id]
        self.request_ids[row] = FREE
        self.is_decoding[row] = False
        self._free.append(row)
        return entry

    def output_token_ids(self, row: int) -> np.ndarray:
        """Return a copy of the tokens generated so far that the host knows, int32."""
        return self.token_ids[row, self.request(row).num_prompt_tokens : self.num_known[row]].copy()

    def check_integrity(self) -> None:
        """Raise AssertionError unless every row is either free or owned by one request, with counts in order."""
        rows = np.flatnonzero(self.request_ids != FREE)
        assert sorted(self.entries) == rows.tolist() == sorted(self._rows.values()), "rows and owners disagree"
        assert sorted([*self._free, *rows.tolist()]) == list(range(len(self.request_ids))), "a row is lost or twice"
        assert (self.num_known[rows] <= self.num_tokens[rows]).all(), "tokens are known that were never sampled"
        assert (self.num_scheduled[rows] < self.num_tokens[rows]).all(), "KV is computed for tokens that do not exist"
        assert (self.num_tokens[rows] <= self.max_total[rows]).all(), "a sequence is longer than it may be"
        decoding = rows[self.is_decoding[rows]]
        assert (self.num_scheduled[decoding] == self.num_tokens[decoding] - 1).all(), "a decoding row skipped a token"

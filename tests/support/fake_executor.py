"""A device without a model: its KV cache stores token ids, and the next token is a hash of what the cache returns.

It keeps rows and block tables of its own from plans alone, as the runner does, and "attends" by reading a row's whole
sequence back through its table. A wrong table, a block reused too early, a missing copy or a false prefix hit changes
the history and so the tokens. ``tokens_alone`` is the oracle: a plain list and the same hash.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from pagednb.config import CacheGeometry
from pagednb.request import FinishReason, Request
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.output import LogprobArrays, RunnerOutput, SchedulerOutput

NEVER_WRITTEN = -1


def next_token(token_ids: Sequence[int] | np.ndarray, seed: int, vocab_size: int) -> int:
    """The token that follows ``token_ids``."""
    return zlib.crc32(np.asarray(token_ids, dtype=np.int32).tobytes(), seed) % vocab_size


def tokens_alone(request: Request, *, vocab_size: int, eos_token_ids: Sequence[int]) -> tuple[list[int], FinishReason]:
    """Generate one request with nothing but a list: the output and why it ends."""
    params = request.sampling_params
    stops = set(params.stop_token_ids) | (set() if params.ignore_eos else set(eos_token_ids))
    sequence = request.prompt_token_ids.tolist()
    for _ in range(request.max_tokens):
        sequence.append(next_token(sequence, request.seed, vocab_size))
        if sequence[-1] in stops:
            return sequence[request.num_prompt_tokens :], FinishReason.STOP
    return sequence[request.num_prompt_tokens :], FinishReason.LENGTH


@dataclasses.dataclass(slots=True)
class _Row:
    table: list[int]
    num_computed: int
    seed: int
    params: SamplingParams
    last_token: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Pending:
    output: RunnerOutput

    def result(self) -> RunnerOutput:
        return self.output


class FakeExecutor:
    """Implements ``Executor``. What a plan does to the device is done when it is executed, in plan order."""

    def __init__(self, geometry: CacheGeometry, *, vocab_size: int = 1000) -> None:
        self.vocab_size = vocab_size
        self.num_steps = 0
        self.num_copies = 0
        self._block_size = geometry.block_size
        self._store = np.full((geometry.num_blocks, geometry.block_size), NEVER_WRITTEN, dtype=np.int32)
        self._rows: dict[int, _Row] = {}

    def execute(self, plan: SchedulerOutput) -> _Pending:
        assert not plan.is_empty, "an empty plan was executed"
        self.num_steps += 1
        self._apply_diff(plan)
        # as in every layer of a real pass, all writes come before all reads
        for row in plan.decode_rows.tolist():
            state = self._rows[row]
            assert state.last_token is not None, f"row {row} decodes before its prompt is computed"
            self._write(state, [state.last_token])
        for chunk in plan.prefills:
            assert chunk.start == self._rows[chunk.row].num_computed, f"chunk of row {chunk.row} leaves a gap"
            self._write(self._rows[chunk.row], chunk.token_ids.tolist())
        expected = [*plan.decode_rows.tolist(), *(chunk.row for chunk in plan.prefills if chunk.samples)]
        assert plan.sampled_rows.tolist() == expected
        assert plan.max_seq_len == max(self._rows[row].num_computed for row in self._running(plan))
        tokens = [self._sample(row) for row in expected]
        token_ids = np.array(tokens, dtype=np.int64).reshape(-1, 1)
        return _Pending(RunnerOutput(token_ids=token_ids, logprobs=self._logprobs(expected, tokens)))

    def reset(self) -> None:
        self._rows.clear()

    def shutdown(self) -> None:
        self._rows.clear()

    @staticmethod
    def _running(plan: SchedulerOutput) -> list[int]:
        return [*plan.decode_rows.tolist(), *(chunk.row for chunk in plan.prefills)]

    def _apply_diff(self, plan: SchedulerOutput) -> None:
        for row in plan.released_rows.tolist():
            del self._rows[row]
        for new in plan.admissions:
            assert new.row not in self._rows, f"row {new.row} is admitted while taken"
            self._rows[new.row] = _Row(new.block_ids.tolist(), new.num_computed_tokens, new.seed, new.sampling_params)
        growth = plan.growth
        entries = zip(growth.rows.tolist(), growth.columns.tolist(), growth.block_ids.tolist(), strict=True)
        for row, column, block_id in entries:
            table = self._rows[row].table
            assert column <= len(table), f"row {row} grows at {column} and has {len(table)} blocks"
            table[column : column + 1] = [block_id]
        if plan.block_copies:
            sources, destinations = np.array(plan.block_copies).T
            self._store[destinations] = self._store[sources]
            self.num_copies += len(sources)

    def _write(self, state: _Row, token_ids: list[int]) -> None:
        for token_id in token_ids:
            column, offset = divmod(state.num_computed, self._block_size)
            assert state.table[column] != 0, "a token is written to the scratch block"
            self._store[state.table[column], offset] = token_id
            state.num_computed += 1

    def _sample(self, row: int) -> int:
        state = self._rows[row]
        history = self._store[state.table].reshape(-1)[: state.num_computed]
        assert len(history) == state.num_computed and NEVER_WRITTEN not in history, f"row {row} reads unwritten slots"
        state.last_token = next_token(history, state.seed, self.vocab_size)
        return state.last_token

    def _logprobs(self, rows: list[int], tokens: list[int]) -> LogprobArrays | None:
        """Made-up values that say which token they belong to: minus the token id, rank 1, then its successors."""
        wanted = [(i, self._rows[row].params.logprobs) for i, row in enumerate(rows)]
        wanted = [(i, width) for i, width in wanted if width is not None]
        if not wanted:
            return None
        width = max(width for _, width in wanted)
        sampled = np.array([tokens[i] for i, _ in wanted], dtype=np.int32)
        top = sampled[:, None] + np.arange(width, dtype=np.int32)
        return LogprobArrays(
            sample_positions=np.array([i for i, _ in wanted], dtype=np.int32),
            sampled_logprobs=-sampled.astype(np.float32),
            ranks=np.ones(len(wanted), dtype=np.int32),
            top_token_ids=top,
            top_logprobs=-top.astype(np.float32),
        )

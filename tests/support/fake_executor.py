"""An executor without a model: its KV cache holds token ids, and a token depends on all tokens read back from it.

It knows what the plans tell it and nothing else. A wrong block table, a block handed out too early, a missing copy or
a bad prefix hit therefore changes the tokens, which ``tokens_alone`` foretells; and what no plan may ask fails at once.
As real K/V depend on all tokens before them, a block also remembers after which tokens it was written.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from pagednb.config import CacheGeometry
from pagednb.request import Request
from pagednb.scheduler.output import Admission, LogprobArrays, PrefillChunk, RunnerOutput, SchedulerOutput

VOCAB_SIZE = 40
EOS = 0
NEVER_WRITTEN = -1


def next_token(history: np.ndarray, seed: int, is_allowed: np.ndarray | None = None) -> int:
    """The token after ``history``, whatever else runs; the next one allowed, where not all are."""
    token = zlib.crc32(history.astype(np.int32).tobytes(), seed & 0xFFFFFFFF) % VOCAB_SIZE
    return token if is_allowed is None else (token + int(np.roll(is_allowed, -token).argmax())) % VOCAB_SIZE


def tokens_alone(request: Request, eos_token_ids: Sequence[int] = (EOS,)) -> list[int]:
    """The request's whole output, computed without any engine."""
    params = request.sampling_params
    stops = {*(params.stop_token_ids or ()), *(() if params.ignore_eos else eos_token_ids)}
    tokens, grammar = request.prompt_token_ids.tolist(), request.grammar
    for num_output in range(request.max_tokens):
        if grammar is not None and grammar.fails_after == num_output:
            break
        is_allowed = None if grammar is None else grammar.allowed(tokens[request.num_prompt_tokens :])
        tokens.append(next_token(np.array(tokens), request.seed, is_allowed))
        if tokens[-1] in stops:
            break
    return tokens[request.num_prompt_tokens :]


@dataclasses.dataclass(slots=True)
class _Row:
    """What the device would know of a running request."""

    admission: Admission
    table: list[int]
    num_written: int
    last_token: int = NEVER_WRITTEN
    last_position: int = NEVER_WRITTEN  # where the last token belongs

    @property
    def is_full(self) -> bool:
        """Whether the row has sampled its last token: there is no more to compute."""
        return self.num_written >= self.admission.max_total_tokens - 1


class _HostBlock(NamedTuple):
    """A block's content in host memory."""

    tokens: np.ndarray
    context: int
    num_covered: int


@dataclasses.dataclass(frozen=True)
class _Ready:
    output: RunnerOutput
    is_ready: bool = True

    def result(self) -> RunnerOutput:
        return self.output


class Fault(Exception):
    """A step that the device did not do."""


class FakeExecutor:
    """Implements ``Executor``. Tokens are made at once; ``result`` only hands them over.

    ``fails`` says where the next step raises ``Fault``: before anything of it is done, or after all.
    """

    def __init__(self, geometry: CacheGeometry) -> None:
        self.store = np.full((geometry.num_blocks, geometry.block_size), NEVER_WRITTEN, dtype=np.int64)
        self._contexts = np.zeros(geometry.num_blocks, dtype=np.int64)  # checksum of all tokens up to the last written
        self._num_covered = np.zeros(geometry.num_blocks, dtype=np.int64)  # tokens of the block that went into it
        self._host_blocks: dict[int, _HostBlock] = {}  # those that were copied out and not yet back
        self._num_host_blocks = geometry.num_host_blocks
        self.fails: Literal["before", "after"] | None = None
        self.num_steps = 0
        self.num_copies = 0
        self.num_swapped_in = 0
        self.num_runs_ahead = 0  # plans of several decode steps
        self.num_run_tokens = 0  # computed in runs after the tokens that a row came with
        self._block_size = geometry.block_size
        self._rows: dict[int, _Row] = {}
        self._last_step = 0

    @property
    def tables(self) -> list[list[int]]:
        """Block tables of all rows."""
        return [row.table for row in self._rows.values()]

    def execute(self, plan: SchedulerOutput) -> _Ready:
        """Apply the diff, write the K/V of all tokens of the pass, then read and sample."""
        assert not plan.is_empty, "an empty plan must not be executed"
        assert plan.step > self._last_step, f"step {plan.step} after {self._last_step}"
        fails, self.fails = self.fails, None
        if fails == "before":
            raise Fault
        self.num_steps += 1
        self.num_runs_ahead += plan.num_decode_steps > 1
        self._last_step = plan.step
        _check_types(plan)
        self._apply_diff(plan)
        newcomers = {admission.row for admission in plan.admissions}
        columns = [self._run_step(plan, newcomers) for _ in range(plan.num_decode_steps)]
        token_ids = np.array(columns, dtype=np.int64).reshape(plan.num_decode_steps, -1).T
        if fails == "after":
            raise Fault
        return _Ready(RunnerOutput(token_ids=token_ids, logprobs=self._logprobs(plan, columns)))

    def _run_step(self, plan: SchedulerOutput, newcomers: set[int]) -> list[int]:
        """One decode step of the plan, its chunks included; rows that have their last token stand still."""
        decodes = [row for row in plan.decode_rows.tolist() if not self._rows[row].is_full]
        assert len(decodes) == len(plan.decode_rows) or plan.num_decode_steps > 1, "a row decodes beyond its end"
        for row in decodes:
            self._write(row, [self._rows[row].last_token], newcomers)
        for chunk in plan.prefills:
            self._write_chunk(chunk, newcomers)
        for row in decodes:
            self._note_contexts(row, self._rows[row].num_written - 1)
        for chunk in plan.prefills:
            self._note_contexts(chunk.row, chunk.start)
        sampling = [*plan.decode_rows.tolist(), *(chunk.row for chunk in plan.prefills if chunk.samples)]
        assert plan.sampled_rows.tolist() == sampling, f"{plan.sampled_rows} for {sampling}"
        full = set(plan.decode_rows.tolist()) - set(decodes)
        allowed = _allowed_by_row(plan)
        return [
            NEVER_WRITTEN if row in full else self._sample(row, plan.max_seq_len, allowed.get(row)) for row in sampling
        ]

    def reset(self) -> None:
        """Forget all rows."""
        self._rows.clear()

    def shutdown(self) -> None:
        """Nothing is held."""

    # the diff: swap out, release, admit, grow, copy, swap in

    def _apply_diff(self, plan: SchedulerOutput) -> None:
        self._swap_out(plan.swap_outs.tolist())
        for row in plan.released_rows.tolist():
            del self._rows[row]
        for admission in plan.admissions:
            assert admission.row not in self._rows, f"row {admission.row} is taken"
            self._rows[admission.row] = _Row(admission, admission.block_ids.tolist(), admission.num_computed_tokens)
        growth = plan.growth
        columns = zip(growth.rows.tolist(), growth.columns.tolist(), growth.block_ids.tolist(), strict=True)
        for row, column, block in columns:
            table = self._rows[row].table
            assert column == len(table), f"row {row} of {len(table)} blocks gets column {column}"
            table.append(block)
        destinations = [destination for _, destination in plan.block_copies]
        sources = [source for source, _ in plan.block_copies]
        assert len(set(destinations)) == len(destinations), f"copied twice into one block: {destinations}"
        swapped_in = dict(plan.swap_ins.tolist())
        assert len(swapped_in) == len(plan.swap_ins), f"copied twice into one block: {plan.swap_ins}"
        assert swapped_in.keys().isdisjoint(destinations), "a block gets two copies"
        for admission in plan.admissions:
            self._check_copied(admission, dict(zip(destinations, sources, strict=True)), swapped_in)
        self.store[destinations] = self.store[sources]  # all are read before any is written
        self._contexts[destinations] = self._contexts[sources]
        self._num_covered[destinations] = self._num_covered[sources]
        self.num_copies += len(destinations)
        self._swap_in(swapped_in)

    def _swap_out(self, moves: list[list[int]]) -> None:
        host_blocks = [host_block for _, host_block in moves]
        assert len(set(host_blocks)) == len(host_blocks), f"copied out twice to one place: {moves}"
        assert all(0 <= host_block < self._num_host_blocks for host_block in host_blocks), moves
        for block, host_block in moves:
            content = self.store[block].copy(), int(self._contexts[block]), int(self._num_covered[block])
            self._host_blocks[host_block] = _HostBlock(*content)

    def _swap_in(self, swapped_in: dict[int, int]) -> None:
        """A host block comes back once: whoever reads it again reads what is not there."""
        for block, host_block in swapped_in.items():
            content = self._host_blocks.pop(host_block)
            self.store[block], self._contexts[block] = content.tokens, content.context
            self._num_covered[block] = content.num_covered
        self.num_swapped_in += len(swapped_in)

    def _check_copied(self, admission: Admission, source_of: dict[int, int], swapped_in: dict[int, int]) -> None:
        """The block that a newcomer gets a copy of was written after the tokens that the newcomer has before it.

        What comes back from host memory is proven when it is read.
        """
        column, num_counted_on = divmod(admission.num_computed_tokens, self._block_size)
        block_ids = admission.block_ids.tolist()
        if block_ids[column] in swapped_in:
            return
        source = source_of.get(block_ids[column])
        assert source is not None or num_counted_on == 0, f"block {column} has {num_counted_on} tokens of nobody"
        if source is None:
            return
        context = 0
        for start in range(0, column * self._block_size, self._block_size):
            context = zlib.crc32(
                admission.token_ids[start : start + self._block_size].astype(np.int64).tobytes(), context
            )
        num_covered = int(self._num_covered[source])
        assert num_covered >= num_counted_on, f"{num_covered} tokens are written in block {source}"
        context = zlib.crc32(self.store[source, :num_covered].tobytes(), context)
        assert context == self._contexts[source], f"block {source} was written after other tokens"

    # the pass: all writes, then all reads

    def _write_chunk(self, chunk: PrefillChunk, newcomers: set[int]) -> None:
        row = self._rows[chunk.row]
        known = row.admission.token_ids
        stop = chunk.start + len(chunk.token_ids)
        assert chunk.start == row.num_written, f"row {chunk.row} at {row.num_written} computes from {chunk.start}"
        if chunk.start < len(known):
            assert np.array_equal(chunk.token_ids, known[chunk.start : stop]), "a chunk of other tokens"
            assert chunk.samples == (stop == len(known)), f"{chunk.samples=} at {stop} of {len(known)}"
        else:
            assert stop < row.admission.max_total_tokens, f"row {chunk.row} computes its last token"
            assert chunk.start > row.last_position or chunk.token_ids[0] == row.last_token, "not the token sampled"
            self.num_run_tokens += len(chunk.token_ids)
        self._write(chunk.row, chunk.token_ids.tolist(), newcomers)

    def _write(self, row: int, tokens: list[int], newcomers: set[int]) -> None:
        state = self._rows[row]
        for position, token in enumerate(tokens, start=state.num_written):
            block = state.table[position // self._block_size]
            assert block != 0, f"row {row} writes to scratch"
            self._check_alone(row, position, block, newcomers)
            self.store[block, position % self._block_size] = token
        state.num_written += len(tokens)

    def _check_alone(self, row: int, position: int, block: int, newcomers: set[int]) -> None:
        """Others may hold a block that is written only if they came in this step and count on what is written."""
        for other, state in self._rows.items():
            if other != row and block in state.table:
                is_reader = other in newcomers and position < state.admission.num_computed_tokens
                assert is_reader, f"row {row} writes block {block} at {position}, row {other} holds it too"

    def _note_contexts(self, row: int, start: int) -> None:
        """Tokens from ``start`` on were written, after all others of the row."""
        blocks, contexts = self._read_contexts(row)
        first = start // self._block_size
        self._contexts[blocks[first:]] = contexts[first:]
        num_written = self._rows[row].num_written - first * self._block_size
        self._num_covered[blocks[first:]] = np.clip(
            num_written - self._block_size * np.arange(len(blocks) - first), 0, self._block_size
        )

    def _sample(self, row: int, max_seq_len: int, is_allowed: np.ndarray | None) -> int:
        state = self._rows[row]
        assert state.num_written <= max_seq_len, f"{state.num_written} tokens, max_seq_len {max_seq_len}"
        blocks, contexts = self._read_contexts(row)
        assert self._contexts[blocks].tolist() == contexts, f"row {row} reads blocks written after other tokens"
        state.last_token = next_token(self._history(row), state.admission.seed, is_allowed)
        state.last_position = state.num_written
        return state.last_token

    def _read_contexts(self, row: int) -> tuple[list[int], list[int]]:
        """Return the blocks that the row has written to or shares, and what each must remember."""
        history, contexts = self._history(row), [0]
        for start in range(0, len(history), self._block_size):
            contexts.append(zlib.crc32(history[start : start + self._block_size].tobytes(), contexts[-1]))
        return self._rows[row].table[: len(contexts) - 1], contexts[1:]

    def _history(self, row: int) -> np.ndarray:
        """All tokens of the row, read through its block table."""
        state = self._rows[row]
        history = self.store[state.table].reshape(-1)[: state.num_written]
        assert len(history) == state.num_written, f"row {row}: {state.num_written} tokens in {state.table}"
        assert (history != NEVER_WRITTEN).all(), f"row {row} reads slots that were never written"
        return history

    def _logprobs(self, plan: SchedulerOutput, columns: list[list[int]]) -> LogprobArrays | None:
        rows, tokens = plan.sampled_rows.tolist(), columns[0]
        counts = [self._rows[row].admission.sampling_params.num_logprobs for row in rows]
        asked = [i for i, count in enumerate(counts) if count is not None]
        if not asked:
            return None
        assert plan.num_decode_steps == 1, "logprobs need the host each step"
        width = max(counts[i] or 0 for i in asked)
        return LogprobArrays(
            sample_positions=np.array(asked, dtype=np.int32),
            sampled_logprobs=np.array([-float(tokens[i]) for i in asked], dtype=np.float32),
            ranks=np.array([tokens[i] + 1 for i in asked], dtype=np.int32),
            top_token_ids=np.tile(np.arange(width, dtype=np.int32), (len(asked), 1)),
            top_logprobs=np.tile(-np.arange(width, dtype=np.float32), (len(asked), 1)),
        )


def _allowed_by_row(plan: SchedulerOutput) -> dict[int, np.ndarray]:
    """Unpack the plan's masks: bool ``[VOCAB_SIZE]`` of each row that has one."""
    if plan.token_masks is None:
        return {}
    positions, words = plan.token_masks.sample_positions, plan.token_masks.words
    assert plan.num_decode_steps == 1, "masks need the host each step"
    assert positions.dtype == words.dtype == np.int32
    assert (np.diff(positions) > 0).all()
    bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, :VOCAB_SIZE].astype(np.bool_)
    assert bits.any(axis=1).all(), "a row may sample nothing"
    return dict(zip(plan.sampled_rows[positions].tolist(), bits, strict=True))


def _check_types(plan: SchedulerOutput) -> None:
    growth = plan.growth
    for rows in (
        plan.released_rows,
        plan.decode_rows,
        plan.sampled_rows,
        growth.rows,
        growth.columns,
        growth.block_ids,
        plan.swap_outs,
        plan.swap_ins,
    ):
        assert rows.dtype == np.int32, rows.dtype
    assert plan.sampled_request_ids.dtype == np.int64, plan.sampled_request_ids.dtype
    for array in [*(a.token_ids for a in plan.admissions), *(chunk.token_ids for chunk in plan.prefills)]:
        assert array.dtype == np.int32, array.dtype
    assert all(admission.block_ids.dtype == np.int32 for admission in plan.admissions)

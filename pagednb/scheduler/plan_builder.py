"""A plan in the making: what one ``schedule()`` has decided so far."""

from __future__ import annotations

import dataclasses

import numpy as np

from pagednb.scheduler.output import (
    EMPTY_ROWS,
    NO_GROWTH,
    Admission,
    BlockGrowth,
    PrefillChunk,
    SchedulerOutput,
)


@dataclasses.dataclass(slots=True)
class PlanBuilder:
    """Collects one step; ``budget`` is the number of tokens that may still be added."""

    budget: int
    decode_rows: np.ndarray = dataclasses.field(default_factory=lambda: EMPTY_ROWS)
    admissions: list[Admission] = dataclasses.field(default_factory=list)
    prefills: list[PrefillChunk] = dataclasses.field(default_factory=list)
    block_copies: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    growth: list[BlockGrowth] = dataclasses.field(default_factory=list)
    prefilled_rows: set[int] = dataclasses.field(default_factory=set)

    def add_decodes(self, rows: np.ndarray) -> None:
        """Run ``rows``, one token each."""
        self.decode_rows = rows
        self.budget -= len(rows)

    def add_chunk(self, chunk: PrefillChunk) -> None:
        """Run a prefill chunk."""
        self.prefills.append(chunk)
        self.prefilled_rows.add(chunk.row)
        self.budget -= len(chunk.token_ids)

    def add_growth(self, rows: np.ndarray, columns: np.ndarray, block_ids: np.ndarray) -> None:
        """Set ``block_table[rows, columns] = block_ids``."""
        self.growth.append(BlockGrowth(rows=rows, columns=columns, block_ids=block_ids))

    def add_copy(self, row: int, column: int, *, source: int, destination: int) -> None:
        """Copy a block and put the copy into a row's table."""
        self.block_copies.append((source, destination))
        self.add_growth(_one(row), _one(column), _one(destination))

    def sampled_rows(self) -> np.ndarray:
        """Rows that sample a token: the decodes, then the chunks that end their sequences."""
        ending = [chunk.row for chunk in self.prefills if chunk.samples]
        return np.concatenate([self.decode_rows, np.array(ending, dtype=np.int32)]) if ending else self.decode_rows

    def build(self, step: int, *, released: list[int], request_ids: np.ndarray, max_seq_len: int) -> SchedulerOutput:
        """Return the finished plan; ``request_ids`` own the rows."""
        sampled_rows = self.sampled_rows()
        return SchedulerOutput(
            step=step,
            released_rows=np.array(released, dtype=np.int32) if released else EMPTY_ROWS,
            admissions=tuple(self.admissions),
            growth=_joined(self.growth),
            block_copies=tuple(self.block_copies),
            decode_rows=self.decode_rows,
            prefills=tuple(self.prefills),
            sampled_rows=sampled_rows,
            sampled_request_ids=request_ids[sampled_rows],
            max_seq_len=max_seq_len,
        )


def _one(value: int) -> np.ndarray:
    return np.array([value], dtype=np.int32)


def _joined(growth: list[BlockGrowth]) -> BlockGrowth:
    if len(growth) <= 1:
        return growth[0] if growth else NO_GROWTH
    return BlockGrowth(
        rows=np.concatenate([part.rows for part in growth]),
        columns=np.concatenate([part.columns for part in growth]),
        block_ids=np.concatenate([part.block_ids for part in growth]),
    )

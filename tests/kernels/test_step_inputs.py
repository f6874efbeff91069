"""A step's inputs, and what it leaves behind, against plain Python over one sequence after another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import torch

from pagednb.kernels.kernel_set import KernelSet
from pagednb.kernels.row_state import Chunks, RowState, StepInputs

NUM_ROWS = 40
SCRATCH = NUM_ROWS - 1
UNWRITTEN = -7


@dataclasses.dataclass(frozen=True)
class Case:
    """``chunks`` are lengths of the queries of ``chunk_rows``; ``num_padding`` tokens follow the last of them."""

    decode_rows: Sequence[int]
    chunk_rows: Sequence[int] = ()
    chunks: Sequence[int] = ()
    num_padding: int = 0
    sampled: Sequence[int] | None = None
    num_columns: int = 16
    block_size: int = 4


CASES = {
    "one decode": Case([3]),
    "decodes with padding": Case([5, 0, 7, SCRATCH, SCRATCH], num_columns=300),
    "only scratch": Case([SCRATCH] * 3, num_columns=1),
    "decodes of which some have ended": Case([30, 2, 31, 4]),
    "one chunk": Case([], [6], [19]),
    "a long chunk": Case([], [6], [700], block_size=16, num_columns=48),
    "chunks, not all sampled": Case([8, 30], [1, 9, 12], [5, 1, 33], sampled=[0, 1, 2, 4]),
    "nothing sampled": Case([], [9], [12], sampled=[]),
    "empty chunks and padding tokens": Case([4, SCRATCH], [2, SCRATCH, SCRATCH], [7, 0, 0], num_padding=9),
    "no chunk at all": Case([SCRATCH], [SCRATCH, SCRATCH], [0, 0], num_padding=600),
    "nothing but padding": Case([], [SCRATCH], [0], num_padding=16),
    "many rows": Case([*range(29), *range(29)] * 5, [33, 34], [2, 3]),
}


def make_state(device: torch.device) -> RowState:
    """Forty rows; 30 and 31 hold all their tokens but are still decoded."""
    generator = torch.Generator().manual_seed(5)

    def draw(low: int, high: int) -> torch.Tensor:
        return torch.randint(low, high, (NUM_ROWS,), generator=generator)

    num_computed = draw(0, 40)
    max_total = num_computed + draw(2, 9)
    max_total[30:32] = num_computed[30:32] + torch.tensor([1, 0])
    fields = [num_computed, max_total, draw(0, 1000), draw(-(2**62), 2**62), draw(0, 50)]
    fields += [torch.rand(NUM_ROWS, generator=generator) for _ in range(3)]
    fields.append(torch.randint(1, 2**27, (NUM_ROWS, 304), generator=generator, dtype=torch.int32))
    for field in fields:
        field[SCRATCH] = 0
    return RowState(*(field.to(device) for field in fields))


def run(kernels: KernelSet, case: Case, state: RowState) -> StepInputs:
    device = state.num_computed.device
    rows = torch.tensor([*case.decode_rows, *case.chunk_rows], device=device)
    sampled = None if case.sampled is None else torch.tensor(case.sampled, dtype=torch.int64, device=device)
    chunks = None
    if case.chunk_rows:
        lengths = torch.tensor([0] + [1] * len(case.decode_rows) + list(case.chunks))
        token_ids = 2000 + torch.arange(sum(case.chunks) + case.num_padding, dtype=torch.int32)
        starts = lengths.cumsum(0).int()
        chunks = Chunks(len(case.decode_rows), starts.to(device), token_ids.to(device))
    return kernels.step_inputs(
        state, rows, block_size=case.block_size, num_columns=case.num_columns, chunks=chunks, sampled_seqs=sampled
    )


def expected(case: Case, state: RowState) -> dict[str, list]:
    """The same by the definition of each field, from lists."""
    lists = {name: getattr(state, name).tolist() for name in state._fields}
    out: dict[str, list] = {name: [] for name in StepInputs._fields}
    fed = iter(range(2000, 2000 + sum(case.chunks)))
    out["query_start_loc"].append(0)
    for index, given in enumerate([*case.decode_rows, *case.chunk_rows]):
        decodes = index < len(case.decode_rows)
        query_len = 1 if decodes else case.chunks[index - len(case.decode_rows)]
        has_ended = decodes and lists["num_computed"][given] + 1 >= lists["max_total"][given]
        row = SCRATCH if has_ended else given
        first, table = lists["num_computed"][row], lists["block_table"][row]
        for position in range(first, first + query_len):
            out["input_ids"].append(lists["last_token"][row] if decodes else next(fed))
            out["positions"].append(position)
            block, offset = table[position // case.block_size], position % case.block_size
            out["slot_mapping"].append(block * case.block_size + offset)
        out["query_start_loc"].append(len(out["positions"]))
        out["seq_lens"].append(first + query_len)
        out["block_tables"].append(table[: case.num_columns])
        out["rows"].append(row)
    for name in ("input_ids", "positions", "slot_mapping"):
        out[name] += [0] * case.num_padding
    for seq in range(len(out["rows"])) if case.sampled is None else case.sampled:
        row = out["rows"][seq]
        out["sample_indices"].append(max(out["query_start_loc"][seq + 1] - 1, 0))
        out["sampled_rows"].append(row)
        out["sampled_positions"].append(out["seq_lens"][seq])
        for name in ("seeds", "top_k", "temperature", "top_p", "min_p"):
            out[name].append(lists[name][row])
    return out


def check_inputs(kernels: KernelSet, case: Case, device: torch.device, *, spoil: bool = False) -> None:
    """Compare every field; ``spoil`` changes a row behind the comparison's back."""
    state = make_state(device)
    inputs = run(kernels, case, state)
    if spoil:
        state.block_table[case.decode_rows[0], 0] += 1
    for name, values in expected(case, state).items():
        assert getattr(inputs, name).tolist() == values, name
    dtypes = {getattr(inputs, name).dtype for name in ("query_start_loc", "seq_lens", "block_tables", "top_k")}
    assert dtypes == {torch.int32}
    assert inputs.positions.dtype == inputs.slot_mapping.dtype == inputs.sampled_positions.dtype == torch.int64


def check_advance(kernels: KernelSet, case: Case, device: torch.device) -> None:
    state = make_state(device)
    inputs = run(kernels, case, state)
    token_ids = 3000 + torch.arange(len(inputs.sampled_rows), device=device)
    wanted = {name: getattr(state, name).tolist() for name in ("num_computed", "last_token")}
    for row, seq_len in zip(inputs.rows.tolist(), inputs.seq_lens.tolist(), strict=True):
        wanted["num_computed"][row] = seq_len if row != SCRATCH else 0
    for row, token_id in zip(inputs.sampled_rows.tolist(), token_ids.tolist(), strict=True):
        wanted["last_token"][row] = token_id if row != SCRATCH else 0
    collected = torch.full((len(token_ids), 3), UNWRITTEN, device=device)
    kernels.advance_rows(state, inputs, token_ids, out=collected[:, 1])
    assert state.num_computed.tolist() == wanted["num_computed"]
    assert state.last_token.tolist() == wanted["last_token"]
    assert collected.tolist() == [[UNWRITTEN, token_id, UNWRITTEN] for token_id in token_ids.tolist()]


def distinct(case: Case) -> bool:
    """Whether no row but scratch takes part twice, as in every plan."""
    rows = [row for row in (*case.decode_rows, *case.chunk_rows) if row != SCRATCH]
    return len(rows) == len(set(rows))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_inputs(kernels: KernelSet, case: Case, device: torch.device) -> None:
    check_inputs(kernels, case, device)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_reference_inputs(references: KernelSet, case: Case) -> None:
    check_inputs(references, case, torch.device("cpu"))


@pytest.mark.parametrize("case", [case for case in CASES.values() if distinct(case)], ids=str)
def test_advance(kernels: KernelSet, references: KernelSet, case: Case, device: torch.device) -> None:
    check_advance(kernels, case, device)
    check_advance(references, case, torch.device("cpu"))


def test_an_ended_row_stays_as_it_is(kernels: KernelSet, device: torch.device) -> None:
    state = make_state(device)
    before = RowState(*(field.clone() for field in state))
    for _ in range(3):
        inputs = run(kernels, Case([30, 31]), state)
        assert inputs.slot_mapping.tolist() == [0, 0] and inputs.seq_lens.tolist() == [1, 1]
        kernels.advance_rows(state, inputs, torch.tensor([5, 6], device=device))
    assert all(torch.equal(after, field) for after, field in zip(state, before, strict=True))


def test_a_row_decodes_until_it_has_all_its_tokens(kernels: KernelSet, device: torch.device) -> None:
    state = make_state(device)
    tokens_left = int(state.max_total[4] - state.num_computed[4]) - 1
    live = []
    for _ in range(tokens_left + 2):
        inputs = run(kernels, Case([4]), state)
        live.append(inputs.rows.item() == 4)
        kernels.advance_rows(state, inputs, torch.tensor([77], device=device))
    assert live == [True] * tokens_left + [False] * 2
    assert state.num_computed[4] + 1 == state.max_total[4]


def test_the_check_can_fail(kernels: KernelSet, device: torch.device) -> None:
    with pytest.raises(AssertionError, match=r"slot_mapping|block_tables"):
        check_inputs(kernels, CASES["decodes with padding"], device, spoil=True)

"""The rules that a row table keeps between two moves, for tests."""

from __future__ import annotations

import numpy as np

from pagednb.scheduler.row_table import NO_REQUEST, RowTable


def check_rows(table: RowTable) -> None:
    """Raise AssertionError, with numbers, unless the fields of every row agree."""
    taken = np.flatnonzero(table.request_ids != NO_REQUEST)
    _check_owners(table)
    free = np.flatnonzero(table.request_ids == NO_REQUEST)
    for flags in (table.is_decoding, table.num_computed, table.has_run, table.is_unread, table.takes_runs):
        assert not flags[free].any(), "a free row is at work"
    known, tokens, total = table.num_known[taken], table.num_tokens[taken], table.max_total[taken]
    assert (table.num_prompt[taken] <= known).all() and (known <= tokens).all() and (tokens <= total).all(), (
        f"known {known}, with tokens in flight {tokens}, at most {total}"
    )
    is_constrained = table.is_constrained[taken]
    assert table.num_stepwise == table.is_stepwise.sum() == table.is_stepwise[taken].sum(), table.num_stepwise
    assert table.num_constrained == table.is_constrained.sum() == is_constrained.sum(), table.num_constrained
    assert (tokens - known <= 1)[is_constrained].all(), "a constrained row ran ahead of its tokens"
    _check_work(table, taken)


def _check_owners(table: RowTable) -> None:
    owners = {request_id: row for row, request_id in enumerate(table.request_ids.tolist()) if request_id >= 0}
    assert owners == table.row_of, f"rows say {owners}, requests say {table.row_of}"
    table.check_free_rows()
    for row, sequence in enumerate(table.sequences):
        owner = NO_REQUEST if sequence is None else sequence.request.request_id
        assert owner == table.request_ids[row], f"row {row} belongs to {table.request_ids[row]} and to {owner}"


def _check_work(table: RowTable, taken: np.ndarray) -> None:
    """Check that every row prefills, decodes, has a run or waits for its end, and only one of these."""
    known, tokens, computed = table.num_known[taken], table.num_tokens[taken], table.num_computed[taken]
    is_prefilling, has_run = np.isin(taken, table.prefilling), table.has_run[taken]
    assert len(set(table.prefilling)) == len(table.prefilling) == is_prefilling.sum(), f"{table.prefilling} prefill"
    assert not (is_prefilling & has_run).any(), "a prompt under way has a run"
    assert (tokens - computed == 1)[~is_prefilling & ~has_run].all(), "a decoding row has not one token to compute"
    assert (tokens > computed)[is_prefilling | has_run].all(), "a row under way has nothing to compute"
    assert (tokens == known)[has_run].all() and table.takes_runs[taken][has_run].all(), "a run of unknown tokens"
    assert (tokens < table.max_total[taken])[has_run].all(), "a run leaves nothing to sample"
    expected = ~is_prefilling & ~has_run & (tokens < table.max_total[taken])
    assert (table.is_decoding[taken] == expected).all(), f"decoding: {taken[table.is_decoding[taken] != expected]}"

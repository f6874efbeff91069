"""Rows and slots against plain dictionaries under random traffic."""

from __future__ import annotations

import numpy as np
import torch

from pagednb.sampling.row_features import RowSlots, RowValues
from pagednb.sampling.transfer import to_device, to_host

NUM_ROWS = 9


def test_values_follow_a_dictionary():
    random = np.random.default_rng(0)
    table, model = RowValues(NUM_ROWS), {}
    for _ in range(300):
        row = int(random.integers(NUM_ROWS))
        if row in model:
            rows = random.permutation(NUM_ROWS)[:4]
            popped = table.pop(rows)
            assert popped.tolist() == [model.pop(each) for each in rows.tolist() if each in model]
        else:
            model[row] = int(random.integers(50))
            table.set(row, model[row])
        rows = random.permutation(NUM_ROWS)[: random.integers(NUM_ROWS)]
        positions, values = table.select(rows)
        assert rows[positions].tolist() == [row for row in rows.tolist() if row in model]
        assert values.tolist() == [model[row] for row in rows.tolist() if row in model]
        assert table.is_empty == (not model)


def test_slots_are_distinct_and_used_again():
    random = np.random.default_rng(1)
    slots, live = RowSlots(NUM_ROWS), set()
    for _ in range(300):
        row = int(random.integers(NUM_ROWS))
        if row in live:
            slots.release(np.array([row]))
            live.remove(row)
        else:
            slots.take(row)
            live.add(row)
        _, held = slots.select(np.arange(NUM_ROWS))
        assert len(set(held.tolist())) == len(held) == len(live)
        assert slots.is_empty == (not live)
    assert slots.num_slots <= NUM_ROWS


def test_packed_arrays_arrive_with_their_shapes_and_dtypes():
    arrays = {
        "odd": np.arange(3, dtype=np.int32),
        "empty": np.empty(0, dtype=np.int64),
        "table": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "long": np.array([2**40, -1], dtype=np.int64),
    }
    arrays["odd"].setflags(write=False)
    sent = to_device(arrays, torch.device("cpu"))
    for name, array in arrays.items():
        np.testing.assert_array_equal(to_host(sent[name]).numpy(), array)
        assert to_host(sent[name]).numpy().dtype == array.dtype

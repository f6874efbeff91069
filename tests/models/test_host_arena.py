"""Host memory for weights and blocks: what was asked for, and for this process alone."""

from __future__ import annotations

import mmap
import os
import sys

import pytest

from pagednb.models.host_arena import host_arena


@pytest.mark.parametrize("num_bytes", [0, 1, 5000, 3 * 2**20 + 1])
def test_it_is_as_long_as_was_asked_for_and_begins_a_page(num_bytes: int) -> None:
    memory = host_arena(num_bytes)
    assert memory.shape == (num_bytes,) and not memory.any()
    assert memory.data_ptr() % mmap.PAGESIZE == 0
    memory.fill_(7)
    assert memory.untyped_storage().nbytes() == num_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="other systems copy nothing for a fork")
def test_a_fork_copies_none_of_it() -> None:
    memory = host_arena(2**20)
    memory.fill_(7)
    in_child = memory.numpy()
    child = os.fork()
    if not child:
        os._exit(int(in_child[0]) + int(in_child[-1]))  # nothing else may run here
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the child has a copy"
    assert (memory == 7).all()

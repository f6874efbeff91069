"""Workloads are a contract with other engines and other days: the same requests, for ever."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest

from pagednb.benchmark.runs import RUNS
from pagednb.benchmark.workloads import (
    LONGEST_SEQUENCES,
    NAMES,
    SINGLE_NUM_NEW,
    VOCAB,
    Workload,
    chat_turns,
    make_workload,
)
from pagednb.errors import OptionError

# of the generators that other engines were given, computed there
FROZEN = {
    ("single", 0): "88f8ae8aad289e07",
    ("single", 1): "5e00a86fb7c274cc",
    ("single", 2): "3dcead49dd140b4d",
    ("chatlike", 0): "d3085c3d72fae074",
    ("chatlike", 1): "7efe11ab416a8614",
    ("chatlike", 2): "014196205356143e",
    ("nano", 0): "88a49d033ef70c97",
    ("nano", 1): "fa6ebd156212befb",
    ("nano", 2): "84667060419b6601",
    ("label", 0): "de3c6d620eefd7b9",
    ("label", 1): "40bbe9542e4be584",
    ("label", 2): "42abe798a3855aff",
}


def digest(requests: Workload) -> str:
    state = hashlib.sha256()
    for ids, num_new in requests:
        state.update(np.array([len(ids), num_new, *ids], dtype="<i8").tobytes())
    return state.hexdigest()[:16]


@pytest.mark.parametrize(("name", "seed"), FROZEN)
def test_the_random_streams_are_frozen(name: str, seed: int) -> None:
    assert digest(make_workload(name, seed)) == FROZEN[name, seed]


def test_a_checksum_notices_one_token() -> None:
    requests = make_workload("single", 0)
    requests[0].prompt_token_ids[-1] ^= 1
    assert digest(requests) != FROZEN["single", 0]


@pytest.mark.parametrize("name", ["chatlike", "nano", "label"])
def test_no_sequence_is_longer_than_is_said(name: str) -> None:
    longest = max(len(ids) + num_new for seed in (1, 2, 3) for ids, num_new in make_workload(name, seed))
    assert 0.7 * LONGEST_SEQUENCES[name] < longest <= LONGEST_SEQUENCES[name]


def test_chats_are_as_long_as_single_and_all_different() -> None:
    ((prompt, num_new),) = make_workload("single", 1)
    turns = list(itertools.islice(chat_turns(1), 5))
    assert {(len(ids), count) for ids, count in turns} == {(len(prompt), num_new)}
    assert len({tuple(ids) for ids, _ in turns}) == 5
    assert turns == list(itertools.islice(chat_turns(1), 5))
    assert turns[0] != next(chat_turns(2))
    assert len(prompt) + num_new == LONGEST_SEQUENCES["busy-kernel"]
    assert len(prompt) + SINGLE_NUM_NEW == LONGEST_SEQUENCES["single"]


@pytest.mark.parametrize("vocab_size", [11, 320, 4096])
def test_ids_stay_below_a_small_vocabulary(vocab_size: int) -> None:
    for ids, _ in make_workload("chatlike", 1, vocab_size=vocab_size):
        assert min(ids) >= 10 and max(ids) < vocab_size


def test_a_large_vocabulary_changes_nothing() -> None:
    assert make_workload("nano", 1, vocab_size=10 * VOCAB) == make_workload("nano", 1)


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(OptionError, match="too small"):
        make_workload("single", 1, vocab_size=10)


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(OptionError, match="'chatlike'"):
        make_workload("chatlik", 1)


def test_everything_that_has_a_name_can_be_run_and_has_a_length() -> None:
    assert tuple(RUNS) == NAMES == tuple(LONGEST_SEQUENCES)

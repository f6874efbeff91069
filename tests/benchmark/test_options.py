"""What a benchmark can be asked, and which workloads fit which model."""

from __future__ import annotations

from typing import Any

import pytest

from pagednb.benchmark.options import BenchmarkOptions, choose_workloads
from pagednb.benchmark.workloads import NAMES
from pagednb.errors import OptionError


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"workloads": ["nanoo"]}, "Did you mean 'nano'"),
        ({"workloads": ["zzz"]}, "There are: single"),
        ({"seeds": []}, "Seeds"),
        ({"seeds": [1, 1]}, "different"),
        ({"seeds": [1, -1]}, "0 or more"),
        ({"num_rows": 0}, "at least 1"),
    ],
)
def test_mistakes_are_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        BenchmarkOptions(**wrong)


def test_all_that_fits_runs_and_the_rest_is_named() -> None:
    choice = choose_workloads(BenchmarkOptions(), vocab_size=50_000, max_model_len=1024)
    assert choice.names == ["single", "label", "chat-while-label", "busy-kernel"]
    (note,) = choice.notes
    assert "chatlike, nano" in note


def test_a_workload_that_was_asked_for_must_fit() -> None:
    options = BenchmarkOptions(workloads=["label", "nano"])
    assert choose_workloads(options, vocab_size=50_000, max_model_len=2048).names == ["label", "nano"]
    with pytest.raises(OptionError, match=r"'nano' needs room for 2,048 .* loaded for 2,047"):
        choose_workloads(options, vocab_size=50_000, max_model_len=2047)


def test_a_model_that_fits_nothing_is_refused() -> None:
    with pytest.raises(OptionError, match="'single' needs room"):
        choose_workloads(BenchmarkOptions(), vocab_size=50_000, max_model_len=128)


def test_whatever_changes_a_workload_is_said() -> None:
    choice = choose_workloads(BenchmarkOptions(num_rows=7), vocab_size=4096, max_model_len=2048)
    assert choice.names == list(NAMES)
    assert "4,096" in choice.notes[0] and "first 7" in choice.notes[1]
    assert not choose_workloads(BenchmarkOptions(), vocab_size=20_000, max_model_len=2048).notes


def test_a_name_given_twice_runs_once() -> None:
    options = BenchmarkOptions(workloads=["nano", "label", "nano"])
    assert choose_workloads(options, vocab_size=50_000, max_model_len=4096).names == ["nano", "label"]

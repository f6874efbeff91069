"""How much host memory preempted requests may take."""

from __future__ import annotations

import pytest

from pagednb.config import EngineConfig
from pagednb.errors import OptionError
from pagednb.runner.swap_size import choose_num_host_blocks

MIB = 2**20


def num_blocks(**options: object) -> int:
    return choose_num_host_blocks(EngineConfig.from_options(options), block_bytes=2 * MIB)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0),
        ({"swap_space": 0.5}, 256),
        ({"preemption_mode": "swap", "swap_space": 0.5}, 256),
        ({"preemption_mode": "recompute", "swap_space": 0.5}, 0),
    ],
)
def test_options_decide(options: dict[str, object], expected: int) -> None:
    assert num_blocks(**options) == expected


def test_less_than_a_block_is_refused() -> None:
    with pytest.raises(OptionError, match=r"swap_space=0\.001 holds no KV block: one has 2 MiB\."):
        num_blocks(swap_space=0.001)


@pytest.mark.parametrize("options", [{}, {"swap_space": 0}])
def test_a_mode_without_a_place_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="nowhere to swap to"):
        EngineConfig(preemption_mode="swap", **options)

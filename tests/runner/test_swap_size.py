"""How much host memory preempted requests may take."""

from __future__ import annotations

import pytest
import torch

from pagednb.config import EngineConfig
from pagednb.errors import GPUMemoryError, OptionError
from pagednb.runner import swap_size
from pagednb.runner.swap_size import choose_num_host_blocks

GIB = 2**30
MIB = 2**20


def num_blocks(device: str, **options: object) -> int:
    config = EngineConfig.from_options(options)
    return choose_num_host_blocks(config, torch.device(device), block_bytes=2 * MIB)


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [
        ("cuda", {}, 2048),
        ("cpu", {}, 0),
        ("cpu", {"preemption_mode": "swap"}, 2048),
        ("cpu", {"swap_space": 0.5}, 256),
        ("cuda", {"swap_space": 0}, 0),
        ("cuda", {"swap_space": 0.5}, 256),
        ("cuda", {"preemption_mode": "recompute", "swap_space": 0.5}, 0),
        ("cuda", {"swap_space": 0.001}, 0),
    ],
)
def test_device_and_options_decide(
    monkeypatch: pytest.MonkeyPatch, device: str, options: dict[str, object], expected: int
) -> None:
    monkeypatch.setattr(swap_size, "_host_bytes", lambda: 64 * GIB)
    assert num_blocks(device, **options) == expected


def test_the_default_leaves_most_of_a_small_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap_size, "_host_bytes", lambda: 8 * GIB)
    assert num_blocks("cuda") == 512


def test_more_than_the_host_has_is_refused() -> None:
    with pytest.raises(
        GPUMemoryError, match=r"swap_space=1e\+06 takes 1000000.00 GiB of host memory, of which .* free"
    ):
        num_blocks("cuda", swap_space=1_000_000)


def test_a_mode_without_a_place_is_refused() -> None:
    with pytest.raises(OptionError, match="nowhere to swap to"):
        EngineConfig(preemption_mode="swap", swap_space=0)

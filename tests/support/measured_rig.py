"""A measured engine around an executor without a model: real scheduler, loop and calls; tokens known in advance."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from support.engine_rig import VOCAB_SIZE, RigBuilder

from pagednb.benchmark.measured_engine import MeasuredEngine
from pagednb.config import EngineConfig


class NamedDeviceRig(RigBuilder):
    """A rig that says it runs on ``device``."""

    device = "cpu"

    def resolve(self) -> Any:
        return SimpleNamespace(**{**vars(super().resolve()), "device": self.device})


def measured_rig(*, device: str = "cpu", **options: Any) -> tuple[MeasuredEngine, NamedDeviceRig]:
    """Return an engine with room for a ``label`` row, and its builder; ``options`` are ``RigBuilder``'s."""
    room = {"num_blocks": 4000, "max_model_len": 1024, "max_num_batched_tokens": 2048}
    builder = NamedDeviceRig(**{**room, **options})
    builder.device = device
    return MeasuredEngine(EngineConfig(), builder), builder


__all__ = ["VOCAB_SIZE", "measured_rig"]

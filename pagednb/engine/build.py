"""Brings an engine's parts to life: resolved model, tokenizer, runner and scheduler.

``LLMEngine`` takes any ``EngineBuilder``; tests give it one with fakes. torch is imported with the first engine that is
built, not with the package.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

from pagednb.config import CacheGeometry, EngineConfig
from pagednb.engine.core import EngineCore
from pagednb.engine.metrics import MemoryUse
from pagednb.engine.preemption_meter import PreemptionMeter
from pagednb.engine.step_pacer import TARGET_STEP_S, StepPacer
from pagednb.engine.token_masks import TokenMaskBuilder
from pagednb.engine.tokenization import TextCodec, load_text_codec
from pagednb.scheduler.scheduler import Scheduler
from pagednb.whole_import import import_whole

if TYPE_CHECKING:
    from pagednb.models.resolve import ResolvedModel

Progress = Callable[[int, int], None]
"""Called with (bytes loaded, bytes in all)."""

# what PCIe of the fourth generation brings. A step lasts as long as its copies of offloaded weights, however few tokens
# it has: a watched prompt cut finer than that would only wait longer
_BUS_BYTES_PER_S = 25e9


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineParts:
    """What the engine thread built.

    ``measure_memory``, for the engine thread alone, returns the bytes that anyone holds on the device now, and those
    that this process's tensors hold; None where nothing is measured.
    """

    core: EngineCore
    geometry: CacheGeometry
    max_num_seqs: int
    memory: MemoryUse
    measure_memory: Callable[[], tuple[int, int]] | None = None

    def memory_now(self) -> MemoryUse:
        """Return ``memory`` as it stands now; on the engine thread."""
        is_asleep = self.core.asleep is not None
        if self.measure_memory is None:
            return self.memory.asleep(used_bytes=0) if is_asleep else self.memory
        used_bytes, own_bytes = self.measure_memory()
        if is_asleep:
            return self.memory.asleep(used_bytes)
        return dataclasses.replace(self.memory, used_bytes=used_bytes, own_bytes=own_bytes)


class EngineBuilder(Protocol):
    """The three phases of loading."""

    def resolve(self) -> ResolvedModel:
        """Find the model and raise every error of the user's; on the caller's thread."""

    def load_codec(self, resolved: ResolvedModel) -> TextCodec | None:
        """Load the tokenizer; on the caller's thread, while the engine thread builds."""

    def build(self, resolved: ResolvedModel, progress: Progress) -> EngineParts:
        """Load weights and allocate the cache; on the engine thread."""


class ModelEngineBuilder:
    """Builds the real engine from its options."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    def resolve(self) -> ResolvedModel:
        """See ``resolve_model``."""
        import_whole("pagednb.models.resolve")  # torch comes with it, on the thread that Stop interrupts
        from pagednb.models.resolve import resolve_model

        return resolve_model(self._config)

    def load_codec(self, resolved: ResolvedModel) -> TextCodec | None:
        """See ``load_text_codec``."""
        return load_text_codec(self._config, resolved.folder, resolved.architecture.model_type)

    def build(self, resolved: ResolvedModel, progress: Progress) -> EngineParts:
        """See ``build_runner``."""
        from pagednb.runner.factory import build_runner
        from pagednb.runner.sleeper import Sleeper

        runner = build_runner(self._config, resolved, progress=progress, warms_up=True)
        scheduler = Scheduler(runner.scheduler_config, runner.geometry)
        # on a CPU a step is over when execute returns: there is nothing to run ahead of
        launch_ahead: Literal[0, 1] = 1 if resolved.device.startswith("cuda") else 0
        report = runner.memory
        as_before = dataclasses.replace(self._config, num_gpu_blocks_override=report.num_blocks)
        build_again = functools.partial(build_runner, as_before, resolved, warms_up=True)
        return EngineParts(
            core=EngineCore(
                scheduler,
                runner,
                launch_ahead=launch_ahead,
                pacer=StepPacer(target_step_s=max(TARGET_STEP_S, report.offloaded_bytes / _BUS_BYTES_PER_S)),
                token_masks=TokenMaskBuilder(
                    resolved.spec.vocab_size, launch_ahead=launch_ahead, allocate=runner.host_words
                ),
                preemption_meter=PreemptionMeter(block_bytes=report.kv_cache_bytes // runner.geometry.num_blocks),
                sleeper=Sleeper(runner, build_again),
            ),
            measure_memory=runner.measure_memory if launch_ahead else None,
            geometry=runner.geometry,
            max_num_seqs=runner.scheduler_config.max_num_seqs,
            memory=MemoryUse(
                total_bytes=report.total_bytes,
                used_before_bytes=report.used_before_bytes,
                weight_bytes=report.weight_bytes,
                offloaded_bytes=report.offloaded_bytes if launch_ahead else 0,  # a CPU's are among its weights
                activation_bytes=report.activation_bytes,
                graph_bytes=report.graph_bytes,
                kv_cache_bytes=report.kv_cache_bytes,
            ),
        )

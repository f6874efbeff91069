"""An engine whose steps can be recorded: ``LLMEngine`` as everyone uses it, with a recorder before its executor."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pagednb.benchmark.step_recorder import StepRecorder
from pagednb.config import EngineConfig
from pagednb.engine.build import EngineBuilder, EngineParts, Progress
from pagednb.engine.llm_engine import LLMEngine

if TYPE_CHECKING:
    from pagednb.engine.tokenization import TextCodec
    from pagednb.models.resolve import ResolvedModel


class MeasuredEngine:
    """``llm_engine`` and the ``recorder`` of its steps; ends with ``shutdown`` or at the end of a ``with`` block.

    ``check`` sees the model before anything is loaded, and may refuse it.

    Raises:
        PagednbError: as ``LLMEngine``, and what ``check`` raises.
    """

    def __init__(
        self,
        config: EngineConfig,
        builder: EngineBuilder,
        *,
        check: Callable[[ResolvedModel], None] = lambda resolved: None,
        progress: Progress | None = None,
    ) -> None:
        recording = _RecordingBuilder(builder, check)
        self.llm_engine = LLMEngine(config, progress=progress, builder=recording)
        assert recording.recorder is not None
        self.recorder = recording.recorder

    @property
    def vocab_size(self) -> int:
        """Number of token ids that prompts may have."""
        return self.llm_engine.resolved.spec.vocab_size

    @property
    def has_device(self) -> bool:
        """Whether steps run on a device of their own, so that the host's work can be told from waiting."""
        return self.llm_engine.resolved.device != "cpu"

    def shutdown(self) -> None:
        """End the engine and give its memory back. Safe to call twice."""
        self.llm_engine.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()


class _RecordingBuilder:
    """Builds as ``builder`` does, then puts a recorder before the executor; nothing has run by then."""

    def __init__(self, builder: EngineBuilder, check: Callable[[ResolvedModel], None]) -> None:
        self._builder = builder
        self._check = check
        self.recorder: StepRecorder | None = None

    def resolve(self) -> ResolvedModel:
        resolved = self._builder.resolve()
        self._check(resolved)
        return resolved

    def load_codec(self, resolved: ResolvedModel) -> TextCodec | None:
        return self._builder.load_codec(resolved)

    def build(self, resolved: ResolvedModel, progress: Progress) -> EngineParts:
        parts = self._builder.build(resolved, progress)
        self.recorder = parts.core.executor = StepRecorder(parts.core.executor, parts.core.scheduler.stats)
        return parts

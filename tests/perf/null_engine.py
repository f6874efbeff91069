"""An engine whose model costs nothing: every token is random, or the first that is allowed.

What is left is the host's work: prompts, scheduling, outputs, text. Tokenizer and limits are those of the real model.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from pagednb.config import CacheGeometry, EngineConfig, SchedulerConfig
from pagednb.engine.build import EngineParts, ModelEngineBuilder, Progress
from pagednb.engine.core import EngineCore
from pagednb.engine.llm_engine import LLMEngine
from pagednb.engine.metrics import MemoryUse
from pagednb.engine.step_pacer import StepPacer
from pagednb.engine.token_masks import TokenMaskBuilder
from pagednb.models.resolve import ResolvedModel
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.output import LogprobArrays, RunnerOutput, SchedulerOutput
from pagednb.scheduler.scheduler import Scheduler

MAX_NUM_SEQS = 1024
NUM_BLOCKS = 60_000
_FIRST_TEXT_TOKEN, _NUM_TEXT_TOKENS = 300, 20_000


@dataclasses.dataclass(frozen=True)
class _Ready:
    output: RunnerOutput
    is_ready: bool = True

    def result(self) -> RunnerOutput:
        return self.output


class NullExecutor:
    """Implements ``Executor`` without a model."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._named: dict[int, SamplingParams] = {}  # rows that want logprobs

    def execute(self, plan: SchedulerOutput) -> _Ready:
        """Return random tokens at once."""
        for row in plan.released_rows.tolist() if self._named else ():
            self._named.pop(row, None)
        for admission in plan.admissions:
            if admission.sampling_params.num_logprobs is not None:
                self._named[admission.row] = admission.sampling_params
        shape = (len(plan.sampled_rows), plan.num_decode_steps)
        token_ids = self._random.integers(_FIRST_TEXT_TOKEN, _NUM_TEXT_TOKENS, shape)
        if plan.token_masks is not None:
            token_ids[plan.token_masks.sample_positions, 0] = _first_allowed(plan.token_masks.words)
        return _Ready(RunnerOutput(token_ids=token_ids, logprobs=self._logprobs(plan)))

    def _logprobs(self, plan: SchedulerOutput) -> LogprobArrays | None:
        asked = [(i, self._named[row]) for i, row in enumerate(plan.sampled_rows.tolist()) if row in self._named]
        if not asked:
            return None
        names = list(itertools.zip_longest(*(params.logprob_token_ids or () for _, params in asked), fillvalue=0))
        top = np.array(names, dtype=np.int32).reshape(-1, len(asked)).T
        return LogprobArrays(
            sample_positions=np.array([i for i, _ in asked], dtype=np.int32),
            sampled_logprobs=np.full(len(asked), -3.0, dtype=np.float32),
            ranks=np.ones(len(asked), dtype=np.int32),
            top_token_ids=top,
            top_logprobs=-5 * self._random.random(top.shape, dtype=np.float32),
        )

    def reset(self) -> None:
        """Forget all rows."""
        self._named.clear()

    def shutdown(self) -> None:
        """Nothing is held."""


class _NullBuilder(ModelEngineBuilder):
    """Resolves and loads the tokenizer as for the real model; no weights."""

    def build(self, resolved: ResolvedModel, progress: Progress) -> EngineParts:
        max_model_len = min(resolved.max_model_len, 8192)
        geometry = CacheGeometry(num_blocks=NUM_BLOCKS, block_size=16, max_model_len=max_model_len)
        limits = SchedulerConfig(
            max_num_seqs=MAX_NUM_SEQS,
            max_num_batched_tokens=8192,
            max_model_len=max_model_len,
            eos_token_ids=tuple(resolved.eos_token_ids),
            min_shared_prefix_tokens=16_384,
        )
        masks = TokenMaskBuilder(
            resolved.spec.vocab_size, launch_ahead=1, allocate=lambda *shape: np.empty(shape, dtype=np.int32)
        )
        core = EngineCore(
            Scheduler(limits, geometry), NullExecutor(), launch_ahead=1, pacer=StepPacer(), token_masks=masks
        )
        return EngineParts(
            core=core,
            geometry=geometry,
            max_num_seqs=MAX_NUM_SEQS,
            memory=MemoryUse(**dict.fromkeys((field.name for field in dataclasses.fields(MemoryUse)), 0)),
        )


def null_engine(config: EngineConfig) -> LLMEngine:
    """Return the running engine."""
    return LLMEngine(config, builder=_NullBuilder(config))


def _first_allowed(words: np.ndarray) -> np.ndarray:
    """Return the first token that each row of ``words`` ``[num_rows, num_words]`` allows."""
    column = (words != 0).argmax(axis=1)
    word = np.take_along_axis(words, column[:, None], axis=1)[:, 0].astype(np.int64)
    lowest_bit = word & -word
    bit = np.log2(lowest_bit.astype(np.float64)).astype(np.int64)
    found: np.ndarray = column * 32 + bit
    return found

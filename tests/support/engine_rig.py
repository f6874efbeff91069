"""A whole ``LLMEngine`` around an executor that needs no model: its tokens are known in advance.

The token at a position depends on the request's seed only, so every answer can be checked however the requests were
batched, interrupted or restarted. ``before_step`` runs on the engine thread ahead of each step: it may raise, wait or
count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from support.rig_figures import HIDDEN_SIZE, pooled, prompt_logprobs, sampled_logprobs
from support.rig_sleeper import RigSleeper
from support.tiny_tokenizers import byte_level_tokenizer

from pagednb.config import CacheGeometry, EngineConfig, SchedulerConfig
from pagednb.engine.build import EngineParts, Progress
from pagednb.engine.core import EngineCore
from pagednb.engine.llm_engine import LLMEngine
from pagednb.engine.metrics import MemoryUse
from pagednb.engine.tokenization import TextCodec
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.output import RunnerOutput, SchedulerOutput
from pagednb.scheduler.scheduler import Scheduler

VOCAB_SIZE = 320
EOS_TOKEN_ID = 1
NO_MEMORY = MemoryUse(
    total_bytes=0, used_before_bytes=0, weight_bytes=0, activation_bytes=0, graph_bytes=0, kv_cache_bytes=0
)


def token_at(seed: int, position: int) -> int:
    """The token that the rig samples for a sequence with ``seed`` at ``position``; never special."""
    return 2 + (seed * 31 + position * 7) % (VOCAB_SIZE - 2)


def expected_tokens(seed: int, num_prompt_tokens: int, num_tokens: int) -> tuple[int, ...]:
    """The whole answer of a sequence that is not stopped."""
    return tuple(token_at(seed, num_prompt_tokens + i) for i in range(num_tokens))


@dataclasses.dataclass(frozen=True)
class _Ready:
    output: RunnerOutput
    is_ready: bool = True

    def result(self) -> RunnerOutput:
        return self.output


class RigExecutor:
    """Keeps a row's seed and length, as the runner keeps them on the device."""

    def __init__(self) -> None:
        self.before_step: Callable[[], None] = lambda: None
        self.num_steps = 0
        self.num_resets = 0
        self.is_shut_down = False
        self.reset_fault: Exception | None = None
        self._rows: dict[int, tuple[int, int]] = {}  # row -> (seed, tokens known)
        self._params: dict[int, SamplingParams] = {}  # by row

    def execute(self, plan: SchedulerOutput) -> _Ready:
        assert not plan.is_empty
        self.num_steps += 1
        self.before_step()
        for row in plan.released_rows.tolist():
            del self._rows[row]
        for admission in plan.admissions:
            assert admission.row not in self._rows
            self._rows[admission.row] = (admission.seed, len(admission.token_ids))
            self._params[admission.row] = admission.sampling_params
        token_ids = [self._sample(row) for row in plan.sampled_rows.tolist()]
        return _Ready(
            RunnerOutput(
                token_ids=np.array(token_ids, dtype=np.int64).reshape(-1, 1),
                logprobs=sampled_logprobs(token_ids, self._params, plan),
                prompt_logprobs=prompt_logprobs(plan) if plan.has_scoring else None,
                pooled=pooled(plan) if plan.has_pooling else None,
            )
        )

    def _sample(self, row: int) -> int:
        seed, length = self._rows[row]
        self._rows[row] = (seed, length + 1)
        return token_at(seed, length)

    def reset(self) -> None:
        if self.reset_fault is not None:
            raise self.reset_fault
        self.num_resets += 1
        self._rows.clear()

    def shutdown(self) -> None:
        self.is_shut_down = True


@dataclasses.dataclass
class RigBuilder:
    """Builds the engine around ``executor``; ``while_building`` gets the progress callback on the engine thread."""

    executor: RigExecutor = dataclasses.field(default_factory=RigExecutor)
    sleeper: RigSleeper = dataclasses.field(default_factory=RigSleeper)
    num_blocks: int = 65
    max_num_seqs: int = 16
    max_num_batched_tokens: int = 64
    max_model_len: int = 256
    launch_ahead: Literal[0, 1] = 0
    while_building: Callable[[Progress], None] = lambda progress: None

    def resolve(self) -> Any:
        return SimpleNamespace(
            name="rig",
            device="cpu",
            dtype="float32",
            spec=SimpleNamespace(vocab_size=VOCAB_SIZE, hidden_size=HIDDEN_SIZE),
            eos_token_ids=(EOS_TOKEN_ID,),
            generation_config={},
            max_model_len=self.max_model_len,
        )

    def load_codec(self, resolved: Any) -> TextCodec:
        return TextCodec(byte_level_tokenizer())

    def build(self, resolved: Any, progress: Progress) -> EngineParts:
        self.while_building(progress)
        geometry = CacheGeometry(num_blocks=self.num_blocks, block_size=4, max_model_len=self.max_model_len)
        config = SchedulerConfig(
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_model_len=self.max_model_len,
            eos_token_ids=(EOS_TOKEN_ID,),
        )
        return EngineParts(
            core=EngineCore(
                Scheduler(config, geometry), self.executor, launch_ahead=self.launch_ahead, sleeper=self.sleeper
            ),
            geometry=geometry,
            max_num_seqs=self.max_num_seqs,
            memory=NO_MEMORY,
        )


def make_engine(builder: RigBuilder | None = None, **options: Any) -> tuple[LLMEngine, RigExecutor]:
    """Return a running engine and its executor."""
    builder = builder or RigBuilder(**options)
    return LLMEngine(EngineConfig(), builder=builder), builder.executor


def assert_idle(engine: LLMEngine) -> None:
    """Nothing runs, nothing waits, and every block is back."""
    engine.check_integrity()
    stats = engine.status().scheduler
    assert (stats.num_running, stats.num_waiting, stats.num_used_blocks) == (0, 0, 0)

"""Starting with a copy of a block changes no token: the whole stack, fp32, with copies and without a prefix cache."""

from __future__ import annotations

import pathlib

import pytest
import torch
from support.core_engine import CoreEngine
from support.tiny_models import ARCHITECTURES, VOCAB_SIZE, tiny_model

from pagednb.engine.core import EngineCore
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.output import SchedulerOutput

PLACES = [
    *((architecture, "cpu") for architecture in ARCHITECTURES),
    pytest.param("qwen3", "cuda", marks=pytest.mark.gpu),
]
COMMON_LENGTHS = (29, 29, 23, 27, 30, 5, 29, 31)  # with the first prompt; blocks end at 16 and 32
OPTIONS = {
    "blocks of 16": {"block_size": 16, "max_num_seqs": 2},
    "chunks of 19, launch-ahead": {"block_size": 8, "max_num_seqs": 2, "max_num_batched_tokens": 19, "launch_ahead": 1},
    "preemption": {"block_size": 8, "max_num_seqs": 4, "num_gpu_blocks_override": 17},
}


class CopyCounter:
    """The runner, and how many blocks its plans copied."""

    def __init__(self, core: EngineCore) -> None:
        self.num_copies = 0
        self._executor = core.executor
        core.executor = self

    def execute(self, plan: SchedulerOutput):
        self.num_copies += len(plan.block_copies)
        return self._executor.execute(plan)


def make_prompts() -> list[list[int]]:
    """Prompts that begin like the first, for longer and shorter."""
    generator = torch.Generator().manual_seed(5)
    prompts = [torch.randint(3, VOCAB_SIZE, (37 + 3 * i,), generator=generator).tolist() for i in range(8)]
    for prompt, num_common in zip(prompts, COMMON_LENGTHS, strict=True):
        prompt[:num_common] = prompts[0][:num_common]
    return prompts


PARAMS = [
    SamplingParams(temperature=0.0 if i % 3 else 0.9, seed=i, max_tokens=6 + 2 * i, ignore_eos=True) for i in range(8)
]


def tokens(folder: pathlib.Path, *, num_copies: int, **options) -> list[list[int]]:
    """Tokens of all prompts, made with at least ``num_copies`` copied blocks, or with none if 0."""
    engine = CoreEngine(folder, max_model_len=128, gpu_memory_utilization=0.5, **options)
    counter = CopyCounter(engine.core)
    made = engine.tokens(make_prompts(), PARAMS)
    engine.runner.shutdown()
    assert counter.num_copies >= num_copies and (num_copies > 0 or counter.num_copies == 0)
    return made


@pytest.mark.parametrize(("architecture", "device"), PLACES)
def test_copies_change_no_token(architecture, device, tmp_path):
    folder = tiny_model(architecture, tmp_path)
    alone = tokens(folder, num_copies=0, device=device, enable_prefix_caching=False)
    for name, options in OPTIONS.items():
        assert tokens(folder, num_copies=3, device=device, **options) == alone, name

"""Reading a shared prefix once changes no token: the whole stack, fp32, with groups and without them."""

from __future__ import annotations

import dataclasses
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
OWN_LENGTHS = (1, 9, 4, 30, 17, 2)
NUM_SHARED = 41
LAUNCHES = {
    "block by block": {"block_size": 4},
    "chunks of 7, launch-ahead": {"block_size": 8, "max_num_batched_tokens": 7, "launch_ahead": 1},
    "preemption, launch-ahead": {"block_size": 4, "num_gpu_blocks_override": 48, "launch_ahead": 1},
}


class GroupCounter:
    """The runner, and in how many of its plans a group was named."""

    def __init__(self, core: EngineCore) -> None:
        self.num_groups = 0
        self._executor = core.executor
        core.executor = self

    def execute(self, plan: SchedulerOutput):
        self.num_groups += plan.shared_prefix_lens is not None
        return self._executor.execute(plan)


def make_prompts() -> list[list[int]]:
    """Prompts that begin alike, and between them two that do not."""
    generator = torch.Generator().manual_seed(11)
    prompts = [torch.randint(3, VOCAB_SIZE, (NUM_SHARED + n,), generator=generator).tolist() for n in OWN_LENGTHS]
    for prompt in prompts[1:]:
        prompt[:NUM_SHARED] = prompts[0][:NUM_SHARED]
    others = [torch.randint(3, VOCAB_SIZE, (n,), generator=generator).tolist() for n in (5, 60)]
    return [*prompts[:2], others[0], *prompts[2:5], others[1], prompts[5]]


PARAMS = [
    SamplingParams(temperature=0.0 if i % 3 else 0.9, seed=i, max_tokens=12 + 3 * i, ignore_eos=True) for i in range(8)
]


def tokens(folder: pathlib.Path, *, num_groups: int, **options) -> list[list[int]]:
    """Tokens of all prompts, made with at least ``num_groups`` steps that had a group, or with none if 0."""
    engine = CoreEngine(folder, max_model_len=128, gpu_memory_utilization=0.5, **options)
    counter = GroupCounter(engine.core)
    made = engine.tokens(make_prompts(), PARAMS)
    engine.runner.shutdown()
    assert counter.num_groups >= num_groups and (num_groups > 0 or counter.num_groups == 0)
    return made


@pytest.mark.parametrize(("architecture", "device"), PLACES)
def test_groups_change_no_token(architecture, device, tmp_path):
    folder = tiny_model(architecture, tmp_path)
    alone = tokens(folder, num_groups=0, device=device)
    for name, options in LAUNCHES.items():
        grouped = tokens(folder, num_groups=5, device=device, min_shared_prefix_tokens=8, **options)
        assert grouped == alone, name


def test_forks_in_a_group_draw_what_they_draw_alone(tmp_path):
    folder = tiny_model("llama3.1", tmp_path)
    prompt = make_prompts()[1]
    params = [dataclasses.replace(PARAMS[0], seed=seed) for seed in range(6)]
    calm = CoreEngine(folder, max_model_len=128)
    expected = [calm.tokens([prompt], [each])[0] for each in params]
    forking = CoreEngine(folder, max_model_len=128, block_size=4, min_shared_prefix_tokens=8)
    counter = GroupCounter(forking.core)
    parent = forking.add(prompt, params[0])
    updates = forking.finish([parent, *(forking.add(prompt, each, parent) for each in params[1:])])
    assert [update.output_token_ids.tolist() for update in updates] == expected
    assert counter.num_groups > 5


def test_a_wrong_group_would_show(tmp_path, monkeypatch):
    """The test can fail: a prefix one block too long changes tokens."""
    folder = tiny_model("llama3.1", tmp_path)
    alone = tokens(folder, num_groups=0)

    def lengthened(plan: SchedulerOutput) -> SchedulerOutput:
        lens = plan.shared_prefix_lens
        return plan if lens is None else dataclasses.replace(plan, shared_prefix_lens=lens + 4 * (lens > 0))

    execute = GroupCounter.execute
    monkeypatch.setattr(GroupCounter, "execute", lambda self, plan: execute(self, lengthened(plan)))
    assert tokens(folder, num_groups=5, min_shared_prefix_tokens=8, block_size=4) != alone

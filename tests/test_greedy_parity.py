"""The whole stack against transformers' ``generate``: equal tokens in fp32, however the work is cut and disturbed."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import transformers
from support.tiny_models import ARCHITECTURES, EOS, VOCAB_SIZE, tiny_model

from pagednb.config import EngineConfig
from pagednb.engine.core import EngineCore
from pagednb.models.resolve import resolve_model
from pagednb.request import Request
from pagednb.runner.factory import build_runner
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.scheduler import Scheduler

NEW_TOKENS = 20
PROMPT_LENGTHS = (1, 2, 15, 16, 17, 40, 65, 90)
SHARED_PREFIX = 33  # the two longest prompts begin alike

CALM = {"max_num_batched_tokens": 512}
# name -> engine options, launch-ahead, what must have happened
DISTURBANCES = {
    "no prefix cache, chunks of 64": ({"max_num_batched_tokens": 64, "enable_prefix_caching": False}, 0),
    "chunks of 7, launch-ahead": ({"max_num_batched_tokens": 7}, 1),
    "preemption": ({"max_num_batched_tokens": 64, "num_gpu_blocks_override": 30, "block_size": 4}, 0),
    "preemption, launch-ahead": (
        {"max_num_batched_tokens": 64, "num_gpu_blocks_override": 30, "block_size": 4, "enable_prefix_caching": False},
        1,
    ),
}


@dataclasses.dataclass(frozen=True)
class Reference:
    """A checkpoint, prompts, and what transformers makes of them."""

    folder: pathlib.Path
    prompts: list[list[int]]
    outputs: list[list[int]]


@pytest.fixture(scope="module")
def references(tmp_path_factory) -> Iterator[object]:
    """Reference outputs by architecture, computed once each."""

    @functools.cache
    def reference(architecture: str) -> Reference:
        folder = tiny_model(architecture, tmp_path_factory.mktemp("tiny"))
        prompts = make_prompts()
        return Reference(folder, prompts, transformers_outputs(folder, prompts))

    yield reference
    reference.cache_clear()


def make_prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(7)
    prompts = [torch.randint(3, VOCAB_SIZE, (n,), generator=generator).tolist() for n in PROMPT_LENGTHS]
    prompts[-1][:SHARED_PREFIX] = prompts[-2][:SHARED_PREFIX]
    return prompts


def transformers_outputs(folder: pathlib.Path, prompts: list[list[int]]) -> list[list[int]]:
    """Greedy tokens of each prompt alone, the EOS included."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    outputs = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        mask = torch.ones_like(ids)
        done = model.generate(ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
        outputs.append(done[0, len(prompt) :].tolist())
    return outputs


class Engine:
    """Scheduler, runner and core without thread and text."""

    def __init__(self, folder: pathlib.Path, options: dict[str, object], launch_ahead: int = 0) -> None:
        config = EngineConfig(model=folder, device="cpu", dtype="float32", max_model_len=128, **options)
        self.runner = build_runner(config, resolve_model(config))
        self.scheduler = Scheduler(self.runner.scheduler_config, self.runner.geometry)
        self.core = EngineCore(self.scheduler, self.runner, launch_ahead=launch_ahead)
        self.num_requests = 0

    def generate(self, prompts: list[list[int]]) -> list[list[int]]:
        ids = [self.add(prompt) for prompt in prompts]
        outputs: dict[int, list[int]] = {}
        while len(outputs) < len(ids):
            for update in self.core.step():
                if update.finish_reason is not None:
                    outputs[update.request_id] = update.output_token_ids.tolist()
            self.scheduler.check_integrity()
        return [outputs[request_id] for request_id in ids]

    def add(self, prompt: list[int]) -> int:
        self.num_requests += 1
        request = Request(
            request_id=self.num_requests,
            prompt_token_ids=np.array(prompt, dtype=np.int32),
            sampling_params=SamplingParams(temperature=0.0, max_tokens=NEW_TOKENS),
            max_tokens=NEW_TOKENS,
            seed=0,
        )
        self.scheduler.add(request)
        return self.num_requests


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_ragged_batch_equals_transformers(references, architecture):
    reference = references(architecture)
    engine = Engine(reference.folder, CALM)
    assert engine.generate(reference.prompts) == reference.outputs
    hits_before = engine.scheduler.stats().prefix_hit_tokens
    assert engine.generate(reference.prompts) == reference.outputs, "from the prefix cache"
    assert engine.scheduler.stats().prefix_hit_tokens > hits_before
    assert engine.generate(reference.prompts[3:4]) == reference.outputs[3:4], "alone"
    engine.runner.shutdown()


@pytest.mark.parametrize("disturbance", DISTURBANCES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_disturbances_change_no_token(references, architecture, disturbance):
    reference = references(architecture)
    options, launch_ahead = DISTURBANCES[disturbance]
    engine = Engine(reference.folder, options, launch_ahead)
    assert engine.generate(reference.prompts) == reference.outputs
    assert (engine.scheduler.stats().preemptions > 0) == disturbance.startswith("preemption")
    engine.runner.shutdown()


def test_the_reference_is_worth_comparing_with(references):
    """Outputs that were all alike, or never ended by EOS, would prove little."""
    outputs = [output for architecture in ARCHITECTURES for output in references(architecture).outputs]
    assert len({tuple(output) for output in outputs}) > 0.9 * len(outputs)
    assert np.mean([len(set(output)) / len(output) for output in outputs]) > 0.4
    assert any(output[-1] == EOS and len(output) < NEW_TOKENS for output in outputs)

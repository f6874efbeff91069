"""The whole stack against transformers' ``generate``: equal tokens in fp32, however the work is cut and disturbed."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import transformers
from support.core_engine import CoreEngine
from support.tiny_models import ARCHITECTURES, EOS, VOCAB_SIZE, tiny_model

from pagednb.sampling_params import SamplingParams

NEW_TOKENS = 32
MAX_MODEL_LEN = 128
PROMPT_LENGTHS = (1, 2, 15, 16, 17, 40, 65, 90)
SHARED_PREFIX = 33  # the two longest prompts begin alike
GREEDY = [SamplingParams(temperature=0.0, max_tokens=NEW_TOKENS)] * len(PROMPT_LENGTHS)

# 144 tokens: less than two of the longer sequences, so that they push each other out
SMALL_POOL = {"num_gpu_blocks_override": 36, "block_size": 4}
SWAP = {"swap_space": 0.001, "preemption_mode": "swap"}
DISTURBANCES = {
    "no prefix cache": {"enable_prefix_caching": False, "max_num_batched_tokens": 64},
    "chunks of 7": {"max_num_batched_tokens": 7},
    "chunks of 7, launch-ahead": {"max_num_batched_tokens": 7, "block_size": 4, "launch_ahead": 1},
    "launch-ahead": {"block_size": 32, "launch_ahead": 1},
    "8 steps at once": {"decode_steps": 8},
    "3 steps at once, launch-ahead, preemption": {**SMALL_POOL, "decode_steps": 3, "launch_ahead": 1},
    "preemption": {**SMALL_POOL, "max_num_batched_tokens": 64},
    "preemption, no prefix cache, launch-ahead": {**SMALL_POOL, "enable_prefix_caching": False, "launch_ahead": 1},
    "preemption by swap": {**SMALL_POOL, **SWAP, "max_num_batched_tokens": 64},
    "preemption by swap, launch-ahead": {**SMALL_POOL, **SWAP, "launch_ahead": 1, "decode_steps": 3},
    "preemption by swap, no prefix cache": {**SMALL_POOL, **SWAP, "enable_prefix_caching": False},
}


@dataclasses.dataclass(frozen=True)
class Reference:
    """A checkpoint, prompts, and what transformers makes of them."""

    folder: pathlib.Path
    prompts: list[list[int]]
    outputs: list[list[int]]


@pytest.fixture(scope="module")
def reference_of(tmp_path_factory) -> Iterator[Callable[[str], Reference]]:
    """Reference by architecture, computed once each."""

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


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_ragged_batch_equals_transformers(reference_of, architecture):
    reference = reference_of(architecture)
    engine = CoreEngine(reference.folder, max_model_len=MAX_MODEL_LEN)
    assert engine.tokens(reference.prompts, GREEDY) == reference.outputs
    hits_before = engine.scheduler.stats().num_prefix_tokens_hit
    assert engine.tokens(reference.prompts, GREEDY) == reference.outputs, "from the prefix cache"
    assert engine.scheduler.stats().num_prefix_tokens_hit > hits_before
    engine.scheduler.reset_prefix_cache()
    for index, prompt in enumerate(reference.prompts):
        assert engine.tokens([prompt], GREEDY[:1]) == reference.outputs[index : index + 1], "alone"


@pytest.mark.parametrize("disturbance", DISTURBANCES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_disturbances_change_no_token(reference_of, architecture, disturbance):
    reference = reference_of(architecture)
    engine = CoreEngine(reference.folder, max_model_len=MAX_MODEL_LEN, **DISTURBANCES[disturbance])
    assert engine.tokens(reference.prompts, GREEDY) == reference.outputs
    assert (engine.scheduler.stats().num_preemptions > 0) == ("preemption" in disturbance)
    assert (engine.scheduler.stats().num_blocks_swapped_in > 0) == ("swap" in disturbance)


MIXED = [
    SamplingParams(max_tokens=NEW_TOKENS, temperature=0.9, repetition_penalty=1.3, logprobs=2),
    SamplingParams(max_tokens=NEW_TOKENS, temperature=1.0, top_k=9, top_p=0.9),
    SamplingParams(max_tokens=NEW_TOKENS, temperature=0.0, frequency_penalty=0.8, logprobs=0),
    SamplingParams(max_tokens=NEW_TOKENS, temperature=0.7, min_p=0.05, min_tokens=20),
    SamplingParams(max_tokens=NEW_TOKENS, temperature=1.0, logit_bias={5: 4.0, EOS: 3.0}, min_tokens=9),
    SamplingParams(max_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True, min_tokens=30, logprobs=5),
    SamplingParams(max_tokens=NEW_TOKENS, temperature=1.3, presence_penalty=1.5, stop_token_ids=[7, 8, 9]),
    SamplingParams(max_tokens=NEW_TOKENS, temperature=1.0),
]


@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_disturbances_change_no_sampled_token(reference_of, disturbance):
    """Sampling of every kind: what a request draws depends on its seed and tokens, not on its company."""
    reference = reference_of("qwen3")
    calm = CoreEngine(reference.folder, max_model_len=MAX_MODEL_LEN)
    disturbed = CoreEngine(reference.folder, max_model_len=MAX_MODEL_LEN, **DISTURBANCES[disturbance])
    alone = [calm.tokens([prompt], [params])[0] for prompt, params in zip(reference.prompts, MIXED, strict=True)]
    assert disturbed.tokens(reference.prompts, MIXED) == alone
    assert (disturbed.scheduler.stats().num_preemptions > 0) == ("preemption" in disturbance)
    assert (disturbed.scheduler.stats().num_blocks_swapped_in > 0) == ("swap" in disturbance)


@pytest.mark.parametrize("head_start", [0, 3], ids=["with the parent", "after it"])
@pytest.mark.parametrize(
    "disturbance",
    ["chunks of 7, launch-ahead", "preemption, no prefix cache, launch-ahead", "preemption by swap, launch-ahead"],
)
@pytest.mark.parametrize("num_prompt", [1, 16, 23])
def test_forks_draw_what_they_would_draw_alone(reference_of, num_prompt, disturbance, head_start):
    """Forks share their parent's prompt blocks and copy what they write to."""
    reference = reference_of("llama3.1")
    prompt = reference.prompts[-1][:num_prompt]
    params = [dataclasses.replace(MIXED[seed % 4], seed=seed) for seed in range(6)]
    calm = CoreEngine(reference.folder, max_model_len=MAX_MODEL_LEN)
    expected = [calm.tokens([prompt], [each])[0] for each in params]
    forking = CoreEngine(reference.folder, max_model_len=MAX_MODEL_LEN, **DISTURBANCES[disturbance])
    parent = forking.add(prompt, params[0])
    for _ in range(head_start):
        forking.core.step()
    updates = forking.finish([parent, *(forking.add(prompt, each, parent) for each in params[1:])])
    assert [update.output_token_ids.tolist() for update in updates] == expected


def test_the_reference_is_worth_comparing_with(reference_of):
    """Outputs that were all alike, or never ended by EOS, would prove little."""
    outputs = [output for architecture in ARCHITECTURES for output in reference_of(architecture).outputs]
    assert len({tuple(output) for output in outputs}) > 0.9 * len(outputs)
    assert np.mean([len(set(output)) / len(output) for output in outputs]) > 0.4
    assert any(output[-1] == EOS and len(output) < NEW_TOKENS for output in outputs)

"""Every way to run the same requests on a GPU: graphs, several steps at once, launch-ahead, shared prefixes."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib

import pytest
import torch
from support.core_engine import CoreEngine
from support.tiny_models import ARCHITECTURES, VOCAB_SIZE, tiny_model

from pagednb.benchmark.shapes import model_folder
from pagednb.sampling_params import SamplingParams

pytestmark = pytest.mark.gpu

NUM_SHARED = 33
NEW_TOKENS = 24
GREEDY = SamplingParams(temperature=0.0, max_tokens=NEW_TOKENS, ignore_eos=True)
# bf16 logits between 4 and 8 lie 2^-5 apart, and rounding in 32 layers moves them by a few of these steps: the plain
# mode differs from itself by 6, decoding against prefill. A token taken at random would be some 4.0 below the best.
BF16_CLOSE = 0.3


@dataclasses.dataclass(frozen=True)
class Mode:
    enforce_eager: bool
    decode_steps: int
    launch_ahead: int
    min_shared_prefix_tokens: int | None

    def engine(self, folder: pathlib.Path, **options) -> CoreEngine:
        return CoreEngine(folder, device="cuda", warms_up=not self.enforce_eager, **dataclasses.asdict(self), **options)


PLAIN = Mode(True, 1, 0, None)
MODES = [Mode(*each) for each in itertools.product((True, False), (1, 8), (0, 1), (None, 16))]


def prompts_that_begin_alike(vocab_size: int, own_lengths: tuple[int, ...]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    shared = torch.randint(3, vocab_size, (NUM_SHARED,), generator=generator).tolist()
    return [shared + torch.randint(3, vocab_size, (n,), generator=generator).tolist() for n in own_lengths]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_float32_tokens_are_the_same_in_all_modes(architecture: str, tmp_path: pathlib.Path) -> None:
    folder = tiny_model(architecture, tmp_path)
    prompts = prompts_that_begin_alike(VOCAB_SIZE, (1, 9, 4, 40, 17))
    made = {}
    for mode in MODES:
        engine = mode.engine(folder, max_model_len=128, max_num_seqs=8, gpu_memory_utilization=0.3)
        made[mode] = engine.tokens(prompts, [GREEDY] * len(prompts))
        engine.runner.shutdown()
    assert all(tokens == made[PLAIN] for tokens in made.values()), made


@pytest.mark.parametrize("shape", ["qwen3-0.6b", "llama-3.1-8b"])
def test_bfloat16_takes_near_best_tokens_in_all_modes(shape: str, tmp_path: pathlib.Path) -> None:
    """Each token that a mode takes has, in the plain mode after the same tokens, nearly the best logprob."""
    folder = model_folder(shape, tmp_path)
    options = {"dtype": "bfloat16", "load_format": "dummy", "max_model_len": 2048, "max_num_seqs": 128}
    prompts = prompts_that_begin_alike(20_000, (1, 9, 40, 117))
    made = {}
    for mode in (PLAIN, *(mode for mode in MODES if not mode.enforce_eager)):
        engine = mode.engine(folder, **options)
        made[mode] = engine.tokens(prompts, [GREEDY] * len(prompts))
        engine.runner.shutdown()
    judge = PLAIN.engine(folder, **options)
    one = SamplingParams(temperature=0.0, max_tokens=1, ignore_eos=True, logprobs=20)
    for mode, outputs in made.items():
        prefixes = [
            prompt + tokens[:end] for prompt, tokens in zip(prompts, outputs, strict=True) for end in range(len(tokens))
        ]
        taken = [token for tokens in outputs for token in tokens]
        for token, update in zip(taken, judge.generate(prefixes, [one] * len(prefixes)), strict=True):
            (entry,) = update.logprobs
            tops = dict(zip(entry.top_token_ids, entry.top_logprobs, strict=True))
            assert token in tops and entry.top_logprobs[0] - tops[token] < BF16_CLOSE, f"{mode}: {token} in {tops}"
    judge.runner.shutdown()

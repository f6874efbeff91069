"""A request with a seed says the same alone and beside anything else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.tiny_models import tiny_model

from pagednb import LLM, SamplingParams

PROMPT = "the quick brown fox"
SEEDED = SamplingParams(temperature=1.5, top_p=0.95, seed=11, max_tokens=20, ignore_eos=True)
OTHERS = [
    SamplingParams(temperature=2.0, n=3, max_tokens=30, ignore_eos=True),
    SamplingParams(temperature=1.0, seed=11, best_of=4, max_tokens=9, ignore_eos=True),
    SamplingParams(temperature=0, repetition_penalty=1.4, max_tokens=25, ignore_eos=True),
    SamplingParams(temperature=1.0, logprobs=3, prompt_logprobs=2, max_tokens=11, ignore_eos=True),
    SamplingParams(temperature=1.0, bad_words=["fox"], allowed_token_ids=range(10, 90), max_tokens=18),
    SamplingParams(temperature=1.0, logits_processors=[lambda output, logits: logits * 0.5], max_tokens=18),
    SamplingParams(choices=["yes", "no"]),
]


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    folder = tiny_model("qwen3", tmp_path_factory.mktemp("model"), tokenizer=True)
    options = {"max_model_len": 96, "block_size": 4, "num_gpu_blocks_override": 26, "max_num_batched_tokens": 24}
    with LLM(str(folder), device="cpu", dtype="float32", **options) as llm:
        yield llm
        llm.engine.check_integrity()


def test_the_batch_does_not_matter(llm: LLM) -> None:
    alone = llm.generate(PROMPT, SEEDED)[0].outputs[0].token_ids
    prompts = ["where is my order?", PROMPT, "it was late, again!", "a", PROMPT, "lazy dog. " * 4, PROMPT]
    for place in range(len(OTHERS) + 1):
        llm.reset_prefix_cache()
        together = [*OTHERS[:place], SEEDED, *OTHERS[place:]]
        texts = [*prompts[:place], PROMPT, *prompts[place:]]
        assert llm.generate(texts, together)[place].outputs[0].token_ids == alone
    assert llm.status().scheduler.num_preemptions > 0


def test_samples_have_seeds_of_their_own(llm: LLM) -> None:
    several = SamplingParams(n=4, temperature=1.5, top_p=0.95, seed=11, max_tokens=20, ignore_eos=True)
    outputs = llm.generate(PROMPT, several)[0].outputs
    for index, output in enumerate(outputs):
        one = SamplingParams(temperature=1.5, top_p=0.95, seed=11 + index, max_tokens=20, ignore_eos=True)
        assert llm.generate(PROMPT, one)[0].outputs[0].token_ids == output.token_ids
    assert len({output.token_ids for output in outputs}) > 1

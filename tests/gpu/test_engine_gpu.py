"""The whole engine on a GPU against transformers on the same GPU, and the memory it gives back."""

from __future__ import annotations

import gc
import pathlib
from typing import Any

import pytest
import torch
import transformers
from support.tiny_models import ARCHITECTURES, tiny_model

import pagednb
from pagednb.embedded_model import weights_folder

pytestmark = pytest.mark.gpu

NUM_TOP = 5
NEW_TOKENS = 40
PROMPT_LENGTHS = (1, 7, 16, 33, 60)
MEMORY_SLACK_BYTES = 64 * 2**20


def prompts_for(vocab_size: int, seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(5, vocab_size, (n,), generator=generator).tolist() for n in PROMPT_LENGTHS]


def reference(folder: str, prompts: list[list[int]], dtype: torch.dtype) -> list[tuple[list[int], torch.Tensor]]:
    """Greedy tokens and log-probabilities ``[num_tokens, vocab]`` of transformers, each prompt alone."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).cuda().eval()
    results = []
    for prompt in prompts:
        ids = torch.tensor([prompt], device="cuda")
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_logits=True,
        )
        logprobs = torch.log_softmax(torch.cat(out.logits).float(), dim=-1).cpu()
        results.append((out.sequences[0, len(prompt) :].tolist(), logprobs))
    return results


def ours(folder: str, prompts: list[list[int]], **options: Any) -> list[pagednb.outputs.CompletionOutput]:
    llm = pagednb.LLM(model=folder, skip_tokenizer_init=True, device="cuda", **options)
    params = pagednb.SamplingParams(
        temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True, logprobs=NUM_TOP, detokenize=False
    )
    try:
        outputs = llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
        return [output.outputs[0] for output in outputs]
    finally:
        llm.shutdown()


def assert_close(mine: pagednb.outputs.CompletionOutput, theirs: tuple[list[int], torch.Tensor]) -> int:
    """At the first differing token each side's token is among the other's most likely; return where that is."""
    tokens, logprobs = theirs
    for position, (own, other) in enumerate(zip(mine.token_ids, tokens, strict=True)):
        if own != other:
            assert other in mine.logprobs[position], f"position {position}: {other} not in {mine.logprobs[position]}"
            assert own in logprobs[position].topk(NUM_TOP).indices.tolist()
            return position
    return len(tokens)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_float32_greedy_equals_transformers(architecture: str, tmp_path: pathlib.Path) -> None:
    folder = str(tiny_model(architecture, tmp_path))
    prompts = prompts_for(transformers.AutoConfig.from_pretrained(folder).vocab_size, seed=1)
    expected = reference(folder, prompts, torch.float32)
    for mine, (tokens, _) in zip(ours(folder, prompts, dtype="float32"), expected, strict=True):
        assert list(mine.token_ids) == tokens


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16_logprobs_are_close_to_transformers(architecture: str, tmp_path: pathlib.Path) -> None:
    folder = str(tiny_model(architecture, tmp_path, gain=1.0))
    prompts = prompts_for(transformers.AutoConfig.from_pretrained(folder).vocab_size, seed=2)
    expected = reference(folder, prompts, torch.bfloat16)
    agreed = [assert_close(*pair) for pair in zip(ours(folder, prompts, dtype="bfloat16"), expected, strict=True)]
    assert max(agreed) > 0


def test_the_embedded_model_answers_as_in_transformers() -> None:
    folder = str(weights_folder())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["I was charged twice this month.", "What is paged attention?", "The app crashes when I open it."]
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
        )
        for text in texts
    ]
    expected = reference(folder, prompts, torch.bfloat16)
    for pair in zip(ours(folder, prompts, dtype="bfloat16"), expected, strict=True):
        assert_close(*pair)


def test_preemption_and_small_chunks_change_nothing(tmp_path: pathlib.Path) -> None:
    folder = str(tiny_model("llama3.1", tmp_path))
    prompts = prompts_for(transformers.AutoConfig.from_pretrained(folder).vocab_size, seed=3) * 3
    calm = ours(folder, prompts, dtype="float32")
    for options in (
        {"num_gpu_blocks_override": 16, "block_size": 8},
        {"max_num_batched_tokens": 7},
        {"enable_prefix_caching": False, "block_size": 32},
    ):
        disturbed = ours(folder, prompts, dtype="float32", **options)
        assert [o.token_ids for o in disturbed] == [o.token_ids for o in calm], options


def test_gpu_memory_returns_over_twenty_cycles() -> None:
    def cycle() -> int:
        llm = pagednb.load(device="cuda", gpu_memory_utilization=0.3)
        llm.generate("Hello", pagednb.SamplingParams(max_tokens=8), use_tqdm=False)
        del llm
        pagednb.unload()
        gc.collect()
        return torch.cuda.mem_get_info()[0]

    torch.zeros(1, device="cuda")
    before_first = torch.cuda.mem_get_info()[0]
    after = [cycle() for _ in range(20)]
    assert torch.cuda.memory_allocated() < MEMORY_SLACK_BYTES
    assert after[0] - after[-1] < MEMORY_SLACK_BYTES, after
    # cuBLAS handles and compiled kernels stay with the context after the first load; weights and cache must not
    assert before_first - after[-1] < 4 * MEMORY_SLACK_BYTES, (before_first, after)

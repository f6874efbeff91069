"""What ``LLM`` answers: vLLM's shapes, transformers' tokens."""

from __future__ import annotations

import itertools
import pathlib

import pytest
import torch
import transformers
from support.tiny_llm import GREEDY, MAX_MODEL_LEN, PROMPTS, one

from pagednb import LLM, SamplingParams


def test_greedy_text_is_that_of_transformers(llm: LLM, folder: pathlib.Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for prompt, output in zip(PROMPTS, llm.generate(PROMPTS, GREEDY), strict=True):
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        theirs = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=24,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            temperature=None,
            top_k=None,
        )[0, ids.shape[1] :]
        assert output.prompt == prompt
        assert output.prompt_token_ids == tuple(ids[0].tolist())
        assert output.outputs[0].token_ids == tuple(theirs.tolist())
        assert output.text == tokenizer.decode(theirs, skip_special_tokens=True)
        assert output.outputs[0].finish_reason == "length"
        assert output.finished


def test_output_ends_at_max_model_len(llm: LLM) -> None:
    prompt = [5] * (MAX_MODEL_LEN - 3)
    for max_tokens in (None, 50):
        output = one(llm, prompt, SamplingParams(max_tokens=max_tokens, ignore_eos=True))
        assert len(output.token_ids) == 3
        assert output.finish_reason == "length"


def test_stop_token_ends_the_output_and_is_no_text(llm: LLM) -> None:
    free = one(llm, PROMPTS[0], GREEDY)
    position = next(i for i in range(3, 24) if free.token_ids[i] not in free.token_ids[:i])
    stop_id = free.token_ids[position]
    stopped = one(llm, PROMPTS[0], SamplingParams(temperature=0, max_tokens=24, stop_token_ids=[stop_id]))
    assert stopped.token_ids == free.token_ids[: position + 1]
    assert (stopped.finish_reason, stopped.stop_reason) == ("stop", stop_id)
    decode = llm.get_tokenizer().decode
    assert stopped.text == decode(free.token_ids[:position], skip_special_tokens=True)


def test_eos_ends_the_output_without_a_stop_reason(llm: LLM) -> None:
    params = SamplingParams(temperature=0, max_tokens=24, logit_bias={2: 100.0}, min_tokens=4)
    output = one(llm, PROMPTS[0], params)
    assert len(output.token_ids) == 5
    assert output.token_ids[-1] == 2
    assert (output.finish_reason, output.stop_reason) == ("stop", None)
    assert "</s>" not in output.text


@pytest.mark.parametrize("is_included", [False, True])
@pytest.mark.parametrize("logprobs", [None, 0])
def test_stop_string_over_token_borders(llm: LLM, is_included: bool, logprobs: int | None) -> None:
    free = one(llm, PROMPTS[0], GREEDY)
    stop = free.text[len(free.text) // 2 :][:4]
    params = SamplingParams(
        temperature=0,
        max_tokens=24,
        ignore_eos=True,
        stop=["never in there", stop],
        include_stop_str_in_output=is_included,
        logprobs=logprobs,
    )
    outputs = llm.generate([PROMPTS[0], PROMPTS[1]], [params, GREEDY])
    stopped = outputs[0].outputs[0]
    start = free.text.find(stop)
    assert stopped.text == free.text[: start + len(stop) * is_included]
    assert (stopped.finish_reason, stopped.stop_reason) == ("stop", stop)
    decode = llm.get_tokenizer().decode
    num_tokens = next(n for n in range(25) if stop in decode(free.token_ids[:n], skip_special_tokens=True))
    assert stopped.token_ids == free.token_ids[:num_tokens]
    assert stopped.logprobs is None if logprobs is None else len(stopped.logprobs) == num_tokens
    steps = list(llm.engine.stream(PROMPTS[0], params))
    last = steps[-1].outputs[0]
    assert (last.text, last.token_ids, last.stop_reason) == (stopped.text, stopped.token_ids, stop)
    assert all(stopped.text.startswith(step.text) for step in steps)


def test_stop_string_in_the_last_token_wins_over_length(llm: LLM) -> None:
    free = one(llm, PROMPTS[1], GREEDY)
    stop = free.text[-2:]
    if free.text.find(stop) == len(free.text) - 2:
        stopped = one(llm, PROMPTS[1], SamplingParams(temperature=0, max_tokens=24, ignore_eos=True, stop=stop))
        assert (stopped.finish_reason, stopped.stop_reason) == ("stop", stop)


def test_n_samples_are_n_seeded_runs(llm: LLM) -> None:
    prompt = "the quick brown fox jumps over the lazy dog. where is"
    params = {"temperature": 1.5, "max_tokens": 12, "ignore_eos": True}
    together = llm.generate([prompt, PROMPTS[0]], SamplingParams(n=3, seed=11, **params))[0]
    alone = [one(llm, prompt, SamplingParams(seed=11 + i, **params)) for i in range(3)]
    assert [output.index for output in together.outputs] == [0, 1, 2]
    assert [output.token_ids for output in together.outputs] == [output.token_ids for output in alone]
    assert len({output.token_ids for output in together.outputs}) == 3


def test_n_streams_grow_together(llm: LLM) -> None:
    params = SamplingParams(n=2, seed=1, max_tokens=8, ignore_eos=True)
    steps = list(llm.engine.stream(PROMPTS[0], params))
    assert [step.finished for step in steps] == [False] * (len(steps) - 1) + [True]
    assert steps[-1].outputs == llm.generate(PROMPTS[0], params)[0].outputs


def test_a_seed_is_independent_of_the_batch(llm: LLM) -> None:
    params = SamplingParams(temperature=1.2, top_p=0.9, seed=5, max_tokens=10, ignore_eos=True)
    alone = [one(llm, prompt, params).token_ids for prompt in PROMPTS]
    crowd = llm.generate([*PROMPTS, *PROMPTS * 5], params)
    assert [output.outputs[0].token_ids for output in crowd] == alone * 6


def test_without_a_seed_the_engine_seed_decides(folder: pathlib.Path) -> None:
    def draw(seed: int) -> list[tuple[int, ...]]:
        with LLM(str(folder), device="cpu", max_model_len=MAX_MODEL_LEN, seed=seed) as llm:
            outputs = llm.generate(["a"] * 4, SamplingParams(temperature=2.0, max_tokens=8, ignore_eos=True))
            return [output.outputs[0].token_ids for output in outputs]

    first = draw(1)
    assert len(set(first)) == 4
    assert draw(1) == first
    assert draw(2) != first


def test_logprobs_have_vllms_shape(llm: LLM) -> None:
    params = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True, logprobs=3)
    output = one(llm, PROMPTS[0], params)
    assert output.logprobs is not None
    assert len(output.logprobs) == 6
    for token_id, candidates in zip(output.token_ids, output.logprobs, strict=True):
        assert len(candidates) == 3
        assert candidates[token_id].rank == 1
        assert [c.rank for c in candidates.values()] == [1, 2, 3]
        assert candidates[token_id].decoded_token == llm.get_tokenizer().decode([token_id])
    chosen = [candidates[i].logprob for i, candidates in zip(output.token_ids, output.logprobs, strict=True)]
    assert output.cumulative_logprob == pytest.approx(sum(chosen))
    sampled = one(llm, PROMPTS[0], SamplingParams(temperature=3.0, seed=1, max_tokens=6, ignore_eos=True, logprobs=0))
    assert all(list(c) == [i] for i, c in zip(sampled.token_ids, sampled.logprobs or (), strict=True))


def test_a_stream_grows_into_the_output(llm: LLM) -> None:
    steps = list(llm.engine.stream(PROMPTS[2], GREEDY))
    assert steps[-1].outputs == llm.generate(PROMPTS[2], GREEDY)[0].outputs
    assert [step.finished for step in steps] == [False] * (len(steps) - 1) + [True]
    texts = [step.text for step in steps]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert steps[-1].metrics.arrival_s <= steps[-1].metrics.first_token_s <= steps[-1].metrics.finished_s


def test_a_stream_closed_early_is_aborted(llm: LLM) -> None:
    stream = llm.engine.stream(PROMPTS[0], SamplingParams(max_tokens=80, ignore_eos=True))
    next(stream)
    stream.close()
    assert llm.status().scheduler.num_running == 0


def test_without_detokenize_there_is_no_text(llm: LLM) -> None:
    output = one(llm, PROMPTS[0], SamplingParams(temperature=0, max_tokens=3, ignore_eos=True, detokenize=False))
    assert output.text == ""
    assert len(output.token_ids) == 3

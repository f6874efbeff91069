"""``LLM`` on a tiny real model: vLLM's shapes, transformers' tokens."""

from __future__ import annotations

import gc
import itertools
import pathlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import tqdm
import transformers
from support.tiny_models import tiny_model

import pagednb
from pagednb import LLM, SamplingParams, TextPrompt, TokensPrompt
from pagednb.engine.core_service import CoreService
from pagednb.errors import (
    ContextLengthError,
    EngineDeadError,
    EngineStepError,
    NotSupportedYetError,
    OptionError,
    PromptError,
)
from pagednb.vllm_methods import METHODS_NOT_BUILT_YET

MAX_MODEL_LEN = 96
PROMPTS = ["the quick brown fox", "where is my order?", "it was late, again!", "a"]
GREEDY = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model("llama2", folder, tokenizer=True)
    config = '{"eos_token_id": 2, "temperature": 0.5, "top_k": 7}'
    (folder / "generation_config.json").write_text(config)
    return folder


@pytest.fixture(scope="module")
def llm(folder: pathlib.Path) -> Iterator[LLM]:
    with LLM(str(folder), device="cpu", dtype="float32", max_model_len=MAX_MODEL_LEN, block_size=8, seed=3) as llm:
        yield llm


@pytest.fixture(autouse=True)
def books_balance(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PAGEDNB_PROGRESS", "0")
    yield
    llm.engine.check_integrity()
    stats = llm.status().scheduler
    assert (stats.num_running, stats.num_waiting, stats.num_used_blocks) == (0, 0, 0)


def one(llm: LLM, prompt: Any, params: SamplingParams) -> pagednb.outputs.CompletionOutput:
    return llm.generate(prompt, params)[0].outputs[0]


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


def test_every_form_of_a_prompt_is_the_same_prompt(llm: LLM) -> None:
    ids = llm.get_tokenizer().encode("where is my order?")
    forms: list[Any] = [
        "where is my order?",
        {"prompt": "where is my order?"},
        {"prompt_token_ids": ids},
        {"prompt": "shown only", "prompt_token_ids": tuple(ids)},
        ids,
        np.array(ids),
        TextPrompt(prompt="where is my order?"),
        TokensPrompt(prompt_token_ids=ids),
        {"prompt_token_ids": ids, "multi_modal_data": None},
    ]
    outputs = llm.generate(forms, GREEDY)
    assert len({output.outputs[0].token_ids for output in outputs}) == 1
    assert [output.prompt for output in outputs] == [
        *(forms[0], forms[0], None, "shown only", None, None, forms[0], None, None)
    ]
    for alone in (forms[0], forms[2], ids, np.array(ids)):
        assert llm.generate(alone, GREEDY)[0].outputs[0].token_ids == outputs[0].outputs[0].token_ids
    assert llm.generate([], GREEDY) == []


def test_each_prompt_may_have_its_own_parameters(llm: LLM) -> None:
    lengths = [1, 5, 3, 9]
    outputs = llm.generate(PROMPTS, [SamplingParams(max_tokens=n, ignore_eos=True) for n in lengths])
    assert [len(output.outputs[0].token_ids) for output in outputs] == lengths
    with pytest.raises(OptionError, match="4 prompts and 1 sampling parameters"):
        llm.generate(PROMPTS, [GREEDY])


@pytest.mark.parametrize("params", [{"temperature": 0}, "greedy", 5, [None], [{}]])
def test_parameters_of_another_type_are_refused(llm: LLM, params: Any) -> None:
    with pytest.raises(OptionError, match="SamplingParams"):
        llm.generate("a", params)


@pytest.mark.parametrize(
    ("prompt", "error", "words"),
    [
        ([], PromptError, None),
        ([[]], PromptError, "empty"),
        ({"prompt_token_ids": []}, PromptError, "empty"),
        ([[1, 99999]], PromptError, "99999"),
        ([[-1]], PromptError, "-1"),
        ([1.5], PromptError, "float"),
        ([[0.5, 1.0]], PromptError, "list"),
        ([None], PromptError, "NoneType"),
        (7, PromptError, "int"),
        (b"text", PromptError, "bytes"),
        (bytearray(b"text"), PromptError, "bytearray"),
        ({"text": "a"}, PromptError, "'text'"),
        ({"prompt": 3}, PromptError, "prompt"),
        ({"prompt": "a", "multi_modal_data": {"image": 1}}, PromptError, "multi_modal_data"),
        ("\ud800", PromptError, "Unicode"),
        ([[1] * MAX_MODEL_LEN], ContextLengthError, f"at most {MAX_MODEL_LEN - 1}"),
    ],
)
def test_a_prompt_that_cannot_run_says_why(llm: LLM, prompt: Any, error: type[Exception], words: str | None) -> None:
    if words is None:
        assert llm.generate(prompt, GREEDY) == []
        return
    with pytest.raises(error, match=words):
        llm.generate(prompt, GREEDY)


def test_a_bad_prompt_behind_good_ones_stops_them(llm: LLM) -> None:
    with pytest.raises(PromptError):
        llm.generate([*PROMPTS * 100, [-1]], GREEDY)


def test_parameters_outside_the_vocabulary_are_refused(llm: LLM) -> None:
    for params in (SamplingParams(stop_token_ids=[10**6]), SamplingParams(logit_bias={10**6: 1.0})):
        with pytest.raises(OptionError, match="1000000"):
            llm.generate("a", params)


def test_output_ends_at_max_model_len(llm: LLM) -> None:
    prompt = [5] * (MAX_MODEL_LEN - 3)
    for max_tokens in (None, 50):
        output = one(llm, prompt, SamplingParams(max_tokens=max_tokens, ignore_eos=True))
        assert len(output.token_ids) == 3
        assert output.finish_reason == "length"


def test_a_prompt_the_cache_can_never_hold_is_refused(folder: pathlib.Path) -> None:
    options: dict[str, Any] = {"device": "cpu", "max_model_len": MAX_MODEL_LEN, "block_size": 8}
    with LLM(str(folder), num_gpu_blocks_override=6, **options) as small:
        with pytest.raises(ContextLengthError, match="holds 48 in all"):
            small.generate([[5] * 41], SamplingParams(max_tokens=8))
        with pytest.raises(ContextLengthError, match="holds 48 in all"):
            small.generate([[5] * 48], SamplingParams(max_tokens=None))
        for max_tokens in (8, None):
            assert len(one(small, [5] * 40, SamplingParams(max_tokens=max_tokens, ignore_eos=True)).token_ids) == 8


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


def test_chat_is_the_template_and_nothing_more(llm: LLM) -> None:
    messages = [{"role": "user", "content": "where is my order?"}]
    expected = llm.get_tokenizer().apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    alone = llm.chat(messages, GREEDY)
    assert alone[0].prompt_token_ids == tuple(expected)
    assert alone[0].prompt == "<s><user>where is my order?\n<assistant>"
    several = llm.chat([messages, [{"role": "user", "content": "a"}]], GREEDY)
    assert len(several) == 2
    assert several[0].outputs[0].token_ids == alone[0].outputs[0].token_ids
    unfinished = llm.chat(messages, GREEDY, add_generation_prompt=False)
    assert unfinished[0].prompt == "<s><user>where is my order?\n"
    # text that begins with BOS, as a rendered template does, gets no second one
    assert llm.generate(alone[0].prompt, GREEDY)[0].prompt_token_ids == tuple(expected)


@pytest.mark.parametrize("messages", ["hello", [], [["hello"]], [{"content": "no role"}], {"role": "user"}, None, 5])
def test_malformed_messages_are_refused(llm: LLM, messages: Any) -> None:
    with pytest.raises(PromptError, match="malformed"):
        llm.chat(messages, GREEDY)


@pytest.mark.parametrize("content", [None, 5])
def test_content_that_the_template_cannot_take_is_refused(llm: LLM, content: Any) -> None:
    strict = "{{ '<user>' + messages[0]['content'] }}"
    with pytest.raises(PromptError, match="template"):
        llm.chat([{"role": "user", "content": content}], GREEDY, chat_template=strict)


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


def test_without_a_tokenizer_prompts_are_token_ids(folder: pathlib.Path) -> None:
    with LLM(str(folder), device="cpu", max_model_len=MAX_MODEL_LEN, skip_tokenizer_init=True) as llm:
        output = llm.generate({"prompt_token_ids": [5, 6]}, SamplingParams(max_tokens=3, ignore_eos=True, logprobs=1))[
            0
        ]
        assert output.text == ""
        assert len(output.outputs[0].token_ids) == 3
        for refused in (lambda: llm.generate("text", GREEDY), llm.get_tokenizer, lambda: llm.chat([])):
            with pytest.raises(OptionError, match="skip_tokenizer_init"):
                refused()
        with pytest.raises(OptionError, match="stop_token_ids"):
            llm.generate([[5]], SamplingParams(stop="x"))


def test_default_parameters_come_from_the_generation_config(llm: LLM) -> None:
    assert llm.get_default_sampling_params() == SamplingParams(temperature=0.5, top_k=7)
    assert len(llm.generate("a")) == 1


def test_unknown_and_unbuilt_options_are_named(folder: pathlib.Path) -> None:
    with pytest.raises(OptionError, match="Did you mean 'max_model_len'"):
        LLM(str(folder), max_modellen=3)
    with pytest.raises(NotSupportedYetError, match="quantization"):
        LLM(str(folder), quantization="awq")
    with pytest.raises(NotSupportedYetError, match="extra_args"):
        SamplingParams(extra_args={"a": 1})


@pytest.mark.parametrize("name", sorted(METHODS_NOT_BUILT_YET))
def test_methods_of_vllm_that_are_not_built_say_so(llm: LLM, name: str) -> None:
    with pytest.raises(NotSupportedYetError, match=rf"LLM\.{name} is not built yet\. \w+"):
        getattr(llm, name)
    assert not hasattr(llm, name)
    with pytest.raises(AttributeError, match="no attribute 'slep'"):
        llm.slep  # noqa: B018


def test_metrics_have_vllms_names(llm: LLM) -> None:
    before = {metric.name: metric.value for metric in llm.get_metrics()}
    llm.generate(PROMPTS, GREEDY)
    after = {metric.name: metric for metric in llm.get_metrics()}
    assert after["vllm:generation_tokens"].value - before["vllm:generation_tokens"] == 24 * len(PROMPTS)
    assert after["vllm:num_requests_running"].value == 0
    assert {after["vllm:generation_tokens"].kind, after["vllm:kv_cache_usage_perc"].kind} == {"counter", "gauge"}


def test_bars_appear_only_when_wanted(
    folder: pathlib.Path, llm: LLM, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if tqdm.tqdm.monitor is not None:  # a thread that bars of others started
        tqdm.tqdm.monitor.exit()
        tqdm.tqdm.monitor = None
    llm.generate("a", GREEDY)
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("PAGEDNB_PROGRESS", "1")
    llm.generate("a", GREEDY, use_tqdm=False)
    assert capfd.readouterr().err == ""
    llm.generate("a", GREEDY)
    assert "Processed prompts" in capfd.readouterr().err
    LLM(str(folder), device="cpu", max_model_len=MAX_MODEL_LEN).shutdown()
    assert capfd.readouterr().err == "", "over before a bar is worth a line"
    monkeypatch.setattr("pagednb.engine.progress.LOAD_DELAY_S", 0.0)
    LLM(str(folder), device="cpu", max_model_len=MAX_MODEL_LEN).shutdown()
    assert "Loading weights" in capfd.readouterr().err
    assert tqdm.tqdm.monitor is None


def test_status_shows_what_happened(llm: LLM) -> None:
    before = llm.status()
    llm.generate(PROMPTS, GREEDY)
    after = llm.status()
    assert after.num_finished - before.num_finished == len(PROMPTS)
    assert after.tokens_out - before.tokens_out == len(PROMPTS) * 24
    assert after.tokens_in > before.tokens_in
    assert after.memory.weight_bytes > 0
    assert "KV blocks" in str(after)
    assert "<table" in after._repr_html_()


def test_prefix_cache_is_used_and_reset(llm: LLM) -> None:
    prompt = list(range(10, 60))
    llm.reset_prefix_cache()
    first, second = (llm.generate([prompt], GREEDY)[0] for _ in range(2))
    assert first.num_cached_tokens == 0
    assert second.num_cached_tokens >= 40
    llm.reset_prefix_cache()
    assert llm.generate([prompt], GREEDY)[0].num_cached_tokens == 0


def test_forgetting_it_ends_its_thread(folder: pathlib.Path) -> None:
    before = threading.active_count()
    llm = LLM(str(folder), device="cpu", max_model_len=MAX_MODEL_LEN)
    llm.generate("a", GREEDY)
    assert threading.active_count() == before + 1
    del llm
    gc.collect()
    deadline = time.perf_counter() + 10
    while threading.active_count() > before and time.perf_counter() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_after_shutdown_every_call_says_so(folder: pathlib.Path) -> None:
    llm = LLM(str(folder), device="cpu", max_model_len=MAX_MODEL_LEN)
    llm.shutdown()
    llm.shutdown()
    for use in (lambda: llm.generate("a", GREEDY), llm.status, llm.reset_prefix_cache):
        with pytest.raises(EngineDeadError, match="shut down"):
            use()


def test_after_a_fault_in_the_model_the_next_answer_is_right(llm: LLM) -> None:
    expected = llm.generate(PROMPTS, GREEDY)

    def break_step(service: CoreService) -> None:
        core: Any = service.core
        execute, steps = core.executor.execute, iter(range(100))

        def execute_and_fail(plan: Any) -> Any:
            pending = execute(plan)  # the rows on the device have advanced, then the step fails
            if next(steps) == 5:
                core.executor.execute = execute
                raise FloatingPointError("nan in the logits")
            return pending

        core.executor.execute = execute_and_fail

    llm.engine._loop.call(break_step)
    with pytest.raises(EngineStepError, match="nan in the logits"):
        llm.generate(PROMPTS, GREEDY)
    again = llm.generate(PROMPTS, GREEDY)
    assert [output.outputs for output in again] == [output.outputs for output in expected]
    assert all(output.num_cached_tokens == 0 for output in again)

"""The runner on a GPU: it never waits inside a step, keeps to its own stream, and gives its memory back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from support.device_waits import waiting_is_an_error
from support.plan_writer import admit, chunk, grow, plan
from support.tiny_models import tiny_model

from pagednb.config import EngineConfig
from pagednb.models.resolve import resolve_model
from pagednb.runner.factory import build_runner
from pagednb.runner.model_runner import ModelRunner
from pagednb.sampling_params import SamplingParams

pytestmark = pytest.mark.gpu

MEMORY_SLACK_BYTES = 64 * 2**20
EVERYTHING = SamplingParams(
    temperature=0.8,
    top_k=20,
    top_p=0.9,
    min_p=0.01,
    repetition_penalty=1.2,
    frequency_penalty=0.3,
    logit_bias={5: 1.0},
    min_tokens=4,
    max_tokens=8,
    logprobs=3,
)
GREEDY = SamplingParams(temperature=0.0)
NAMED = SamplingParams(temperature=0.0, logprob_token_ids=(5, 7, 99))
KINDS = {
    "greedy": GREEDY,
    "everything": EVERYTHING,
    "named logprobs": NAMED,
    "named logprobs of logits that change": dataclasses.replace(EVERYTHING, logprobs=None, logprob_token_ids=(0, 5)),
}
LONG, SHORT = list(range(3, 33)), [50, 60, 70]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model("qwen3", tmp_path_factory.mktemp("tiny"))


def make_runner(folder, device: str) -> ModelRunner:
    config = EngineConfig(model=folder, device=device, dtype="float32", max_num_seqs=8, gpu_memory_utilization=0.5)
    return build_runner(config, resolve_model(config))


@pytest.fixture
def runner(folder) -> Iterator[ModelRunner]:
    made = make_runner(folder, "cuda")
    yield made
    made.shutdown()


def plans(params: SamplingParams):
    """Chunks beside decodes, growth, a block copy, a row taken again."""
    return [
        plan(
            admissions=(admit(0, LONG, [7, 2], params=params), admit(3, SHORT, [4], params=params)),
            prefills=[chunk(0, LONG[:20], samples=False), chunk(3, SHORT)],
        ),
        plan(decode=[3], prefills=[chunk(0, LONG, 20)]),
        plan(decode=[0, 3], growth=grow((0, 2, 9)), block_copies=((4, 11),)),
        plan(decode=[3, 0], growth=grow((3, 0, 11))),
        plan(released=[3], admissions=(admit(3, SHORT, [5]),), decode=[0], prefills=[chunk(3, SHORT)]),
        plan(decode=[0, 3]),
    ]


@pytest.mark.parametrize("params", KINDS.values(), ids=KINDS)
def test_tokens_equal_the_cpu_runner(runner, folder, params):
    on_cpu = make_runner(folder, "cpu")
    for step, each in enumerate(plans(params)):
        ours, theirs = runner.execute(each).result(), on_cpu.execute(each).result()
        assert ours.token_ids.tolist() == theirs.token_ids.tolist(), step
        assert (ours.logprobs is None) == (theirs.logprobs is None)
        if ours.logprobs is not None:
            assert ours.logprobs.ranks.tolist() == theirs.logprobs.ranks.tolist()
            torch.testing.assert_close(
                torch.from_numpy(ours.logprobs.top_logprobs),
                torch.from_numpy(theirs.logprobs.top_logprobs),
                rtol=1e-3,
                atol=1e-3,
            )
    on_cpu.shutdown()


@pytest.mark.parametrize("params", KINDS.values(), ids=KINDS)
def test_a_step_is_launched_without_waiting_for_the_device(runner, params):
    for each in plans(params):  # compiles the kernels, which may wait
        runner.execute(each).result()
    runner.reset()
    expected = [runner.execute(each).result().token_ids.tolist() for each in plans(params)]
    runner.reset()
    with waiting_is_an_error():
        pending = [runner.execute(each) for each in plans(params)]
    assert [each.result().token_ids.tolist() for each in pending] == expected


def test_the_users_stream_stays_current_and_is_not_waited_for(runner):
    for each in plans(GREEDY):  # compiling and first allocations may wait for the whole device
        runner.execute(each).result()
    runner.reset()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(2_000_000_000)  # about a second of the user's own work
        for each in plans(GREEDY):
            runner.execute(each).result()
        assert torch.cuda.current_stream() == side
        assert not side.query(), "the engine waited for the user's stream"
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


def test_shutdown_returns_the_memory(folder):
    make_runner(folder, "cuda").shutdown()  # what the context keeps after its first use
    before = torch.cuda.mem_get_info()[0]
    made = make_runner(folder, "cuda")
    for each in plans(EVERYTHING):
        made.execute(each).result()
    assert torch.cuda.mem_get_info()[0] < before
    made.shutdown()
    assert before - torch.cuda.mem_get_info()[0] < MEMORY_SLACK_BYTES

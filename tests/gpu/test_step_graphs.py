"""Captured steps against eager ones: equal tokens in every kind of traffic, and no write outside scratch."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import pathlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from support.core_engine import CoreEngine
from support.fake_grammar import FakeGrammar, fill_fakes
from support.plan_writer import admit, chunk, grow, plan
from support.tiny_models import ARCHITECTURES, VOCAB_SIZE, tiny_model

from pagednb.config import EngineConfig
from pagednb.models.resolve import resolve_model
from pagednb.runner import capture_policy
from pagednb.runner.capture_policy import CAPTURE_AFTER
from pagednb.runner.factory import build_runner
from pagednb.runner.model_runner import ModelRunner
from pagednb.runner.step_shape import StepShape
from pagednb.sampling_params import SamplingParams

pytestmark = pytest.mark.gpu

# six rows for these prompts: admissions while others decode, and batches of every size as they end
PROMPT_LENGTHS = (1, 40, 2, 15, 90, 16, 17, 3, 65, 7, 33, 5)
MAX_TOKENS = (40, 12, 33, 5, 21, 38, 9, 30, 17, 40, 26, 35)
LIMITS = {"max_model_len": 144, "max_num_seqs": 6}
SMALL_POOL = {"num_gpu_blocks_override": 40, "block_size": 4}

GREEDY = SamplingParams(temperature=0.0, ignore_eos=True)
SAMPLED = SamplingParams(temperature=1.0, ignore_eos=True)
FILTERED = SamplingParams(temperature=1.0, top_k=9, top_p=0.9, ignore_eos=True)
MIN_P = SamplingParams(temperature=0.7, min_p=0.05, ignore_eos=True)
PENALISED = SamplingParams(temperature=0.9, repetition_penalty=1.3, frequency_penalty=0.4, ignore_eos=True)
LOGPROBS = SamplingParams(temperature=0.0, logprobs=3, ignore_eos=True)
NAMED = SamplingParams(temperature=1.0, logprob_token_ids=[3, 50], ignore_eos=True)
TRAFFIC = {
    "greedy": [GREEDY],
    "sampled": [GREEDY, SAMPLED, SAMPLED],
    "filters coming and going": [SAMPLED, GREEDY, SAMPLED, FILTERED, SAMPLED, MIN_P],
    "penalties and logprobs coming and going": [SAMPLED, GREEDY, PENALISED, LOGPROBS, FILTERED, SAMPLED],
    "named logprobs coming and going": [SAMPLED, GREEDY, NAMED, SAMPLED, SAMPLED],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    return tiny_model("qwen3", tmp_path_factory.mktemp("tiny"))


@contextlib.contextmanager
def core_engine(folder, **options) -> Iterator[CoreEngine]:
    engine = CoreEngine(folder, device="cuda", launch_ahead=1, gpu_memory_utilization=0.5, **{**LIMITS, **options})
    try:
        yield engine
    finally:
        engine.runner.shutdown()


def requests_of(kinds: list[SamplingParams]) -> tuple[list[list[int]], list[SamplingParams]]:
    generator = torch.Generator().manual_seed(11)
    prompts = [torch.randint(3, VOCAB_SIZE, (n,), generator=generator).tolist() for n in PROMPT_LENGTHS]
    params = [
        dataclasses.replace(kinds[index % len(kinds)], max_tokens=max_tokens, seed=index)
        for index, max_tokens in enumerate(MAX_TOKENS)
    ]
    return prompts, params


def eager_tokens(folder, kinds: list[SamplingParams], **options) -> list[list[int]]:
    with core_engine(folder, enforce_eager=True, **options) as engine:
        assert engine.runner.graphs is None
        return engine.tokens(*requests_of(kinds))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tokens_equal_the_eager_ones_on_every_architecture(architecture, tmp_path):
    folder = tiny_model(architecture, tmp_path)
    kinds = TRAFFIC["filters coming and going"]
    expected = eager_tokens(folder, kinds)
    with core_engine(folder) as engine:
        assert engine.tokens(*requests_of(kinds)) == expected
        first = engine.runner.graphs.num_replays
        engine.core.reset()
        assert engine.tokens(*requests_of(kinds)) == expected, "with graphs captured before a reset"
        assert engine.runner.graphs.num_replays > first > 0


@pytest.mark.parametrize("pool", [{}, SMALL_POOL], ids=["ample pool", "preemption"])
@pytest.mark.parametrize("traffic", TRAFFIC)
def test_tokens_equal_the_eager_ones_in_all_traffic(folder, traffic, pool):
    expected = eager_tokens(folder, TRAFFIC[traffic])
    with core_engine(folder, **pool) as engine:
        for _ in range(2):
            assert engine.tokens(*requests_of(TRAFFIC[traffic])) == expected
            engine.scheduler.reset_prefix_cache()
        assert (engine.scheduler.stats().num_preemptions > 0) == bool(pool)
        captured = set(engine.runner.graphs.captured)
        assert engine.runner.graphs.num_replays > 10
        assert "filters" not in traffic or True in {shape.has_filters for shape in captured}


@pytest.mark.parametrize(
    "options", [{}, {"max_num_batched_tokens": 24}, SMALL_POOL], ids=["whole", "chunks", "preemption"]
)
@pytest.mark.parametrize("traffic", ["greedy", "filters coming and going"])
def test_steps_with_prompts_give_the_eager_tokens(folder, monkeypatch, traffic, options):
    """Every shape is captured when it first comes, so the second run replays steps of all kinds in any order."""
    monkeypatch.setattr(capture_policy, "CAPTURE_AFTER", 1)
    expected = eager_tokens(folder, TRAFFIC[traffic], **options)
    with core_engine(folder, **options) as engine:
        for _ in range(3):
            assert engine.tokens(*requests_of(TRAFFIC[traffic])) == expected
            engine.scheduler.reset_prefix_cache()
        prompts = {(shape.num_decodes, shape.num_prefills, shape.num_prefill_tokens) for shape in replayed(engine)}
        assert len(prompts) > 3 and {num_decodes for num_decodes, _, _ in prompts} == {0, 6}


def test_many_short_prompts_in_one_step_give_the_eager_tokens(folder, monkeypatch):
    """Chunks of two and three tokens, more of them than a graph for so few tokens would have tokens."""
    monkeypatch.setattr(capture_policy, "CAPTURE_AFTER", 1)
    prompts = [[3 + index, 70 + index, 7][: 2 + index % 2] for index in range(20)]
    params = [dataclasses.replace(SAMPLED, max_tokens=9, seed=index) for index in range(20)]
    made = []
    for enforce_eager in (True, False):
        with core_engine(folder, enforce_eager=enforce_eager, max_num_seqs=24) as engine:
            made += [engine.tokens(prompts, params) for _ in range(2)]
    assert made[0] == made[1] == made[2] == made[3]


def replayed(engine: CoreEngine) -> list[StepShape]:
    """The captured shapes with prefills; by the policy of these tests all of them are replayed."""
    return [shape for shape in engine.runner.graphs.captured if shape.num_prefills]


def test_the_usual_graphs_serve_from_the_first_step(folder):
    expected = eager_tokens(folder, TRAFFIC["sampled"])
    with core_engine(folder) as engine:
        engine.runner.warm_up()
        graphs = engine.runner.graphs
        num_usual = len(graphs.captured)
        prompts, params = requests_of(TRAFFIC["sampled"])
        alone = [engine.tokens([prompt], [each])[0] for prompt, each in zip(prompts, params, strict=True)]
        assert alone == expected
        assert graphs.num_replays == sum(MAX_TOKENS), "prompts and decodes"
        assert len(graphs.captured) == num_usual


def test_rows_that_need_more_than_a_graph_run_eagerly_until_they_leave(folder):
    prompts, _ = requests_of([GREEDY])
    long = dataclasses.replace(GREEDY, max_tokens=60)
    short = dataclasses.replace(LOGPROBS, max_tokens=20)
    with core_engine(folder) as engine:
        graphs = engine.runner.graphs
        alone = engine.tokens(prompts[1:2], [long])
        without = graphs.num_replays
        together = engine.finish([engine.add(prompts[1], long), engine.add(prompts[2], short)])
        assert together[0].output_token_ids.tolist() == alone[0]
        assert without < graphs.num_replays < 2 * without - 10, "some steps were eager, the rest was replayed"


@pytest.mark.parametrize("options", [{}, SMALL_POOL], ids=["whole", "preemption"])
@pytest.mark.parametrize("traffic", ["sampled", "filters coming and going", "penalties and logprobs coming and going"])
def test_constrained_rows_beside_plain_ones_give_the_eager_tokens(folder, monkeypatch, traffic, options):
    """Every second request has a grammar of its own; masks change with every step, graphs and rows do not."""
    monkeypatch.setattr(capture_policy, "CAPTURE_AFTER", 1)
    prompts, params = requests_of(TRAFFIC[traffic])

    def outputs(enforce_eager: bool) -> list[list[int]]:
        with core_engine(folder, enforce_eager=enforce_eager, fill_masks=fill_fakes, **options) as engine:
            made = []
            for _ in range(3):
                ids = []
                for index, (prompt, each) in enumerate(zip(prompts, params, strict=True)):
                    grammar = FakeGrammar(VOCAB_SIZE, eos=0, key=index) if index % 2 else None
                    ids.append(engine.add(prompt, each, grammar=grammar))
                made.append([update.output_token_ids.tolist() for update in engine.finish(ids)])
                engine.scheduler.reset_prefix_cache()
            assert made[0] == made[1] == made[2]
            # a penalised row or one with logprobs is there nearly always, and makes its step eager
            if not enforce_eager and "penalties" not in traffic:
                captured = set(engine.runner.graphs.captured)
                assert any(shape.has_token_masks and not shape.num_prefills for shape in captured)
                assert engine.runner.graphs.num_replays > 10
            return made[0]

    expected = outputs(enforce_eager=True)
    assert outputs(enforce_eager=False) == expected
    for index in range(1, len(expected), 2):
        grammar = FakeGrammar(VOCAB_SIZE, eos=0, key=index)
        tokens = expected[index]
        assert all(grammar.allowed(tokens[:i])[token] for i, token in enumerate(tokens))


def test_forks_draw_what_they_draw_eagerly(folder):
    prompt = requests_of([SAMPLED])[0][1]
    params = [dataclasses.replace(SAMPLED, max_tokens=24, seed=seed) for seed in range(4)]

    def outputs(enforce_eager: bool) -> list[list[int]]:
        with core_engine(folder, enforce_eager=enforce_eager) as engine:
            parent = engine.add(prompt, params[0])
            updates = engine.finish([parent, *(engine.add(prompt, each, parent) for each in params[1:])])
            assert enforce_eager or engine.runner.graphs.num_replays > 0
            return [update.output_token_ids.tolist() for update in updates]

    assert outputs(enforce_eager=False) == outputs(enforce_eager=True)


def make_runner(folder, **options) -> ModelRunner:
    options = {"dtype": "float32", "num_gpu_blocks_override": 24, "max_num_seqs": 8, **options}
    config = EngineConfig(model=folder, device="cuda", **options)
    return build_runner(config, resolve_model(config))


def admit_three_rows(runner: ModelRunner, totals: dict[int, int] | None = None) -> None:
    """Rows 0, 2 and 5 are prefilled and hold blocks 3, 7 and (9, 4); ``totals`` bound their tokens."""
    prompts = {0: [5, 6, 7], 2: [8], 5: list(range(20, 36))}
    blocks = {0: [3], 2: [7], 5: [9, 4]}
    totals = totals or {}
    admissions = tuple(admit(row, prompts[row], blocks[row], max_total=totals.get(row)) for row in prompts)
    chunks = [chunk(row, tokens) for row, tokens in prompts.items()]
    runner.execute(plan(admissions=admissions, prefills=chunks)).result()


def test_padding_writes_nothing_but_scratch(folder):
    runner = make_runner(folder)
    parts = runner._live_parts()
    state, kv = parts.state, parts.kv_store._kv  # kv: [layers, 2, blocks, kv heads, block size, head dim]
    admit_three_rows(runner)
    # row 1 lives but does not decode: nothing of it may change
    runner.execute(plan(admissions=(admit(1, [9, 9], [11]),), prefills=[chunk(1, [9, 9])])).result()
    owned = torch.tensor([3, 7, 9, 4, 11], device=kv.device)
    others = torch.ones(kv.shape[2], dtype=torch.bool, device=kv.device)
    others[owned] = False
    with torch.inference_mode():
        kv[:, :, others] = float("nan")
    torch.cuda.synchronize()
    idle_kv = kv[:, :, 11].clone()
    idle = [state.rows.last_token[1].item(), state.rows.num_computed[1].item()]
    tables = state.rows.block_table.clone()
    for _ in range(CAPTURE_AFTER + 8):
        runner.execute(plan(decode=[5, 0, 2], max_seq_len=30)).result()
    assert runner.graphs.num_replays == 8
    assert [shape.num_decodes for shape in runner.graphs.captured] == [4]

    assert kv[:, :, 0, :, 0].isfinite().all(), "padding writes position 0 of the scratch block"
    assert kv[:, :, 0, :, 1:].isnan().all()
    others[0] = False
    assert kv[:, :, others].isnan().all()
    assert torch.equal(kv[:, :, 11], idle_kv)
    assert [state.rows.last_token[1].item(), state.rows.num_computed[1].item()] == idle
    assert torch.equal(state.rows.block_table, tables)
    assert state.rows.num_computed[state.scratch_row] == state.rows.last_token[state.scratch_row] == 0
    assert state.rows.num_computed[[0, 2, 5]].tolist() == [14, 12, 27]
    runner.shutdown()


def test_a_stand_in_gives_the_same_tokens(folder):
    """A larger graph runs a smaller batch until that has its own."""
    eager, graphed = make_runner(folder, enforce_eager=True), make_runner(folder)
    steps = [*[[5, 0, 2]] * 5, *[[0, 5]] * 2, [5], *[[2, 0]] * 3, *[[2]] * 2]
    outputs = []
    for runner in (eager, graphed):
        admit_three_rows(runner)
        runner.execute(plan(decode=[0, 2, 5], growth=grow((0, 1, 12), (2, 1, 13), (5, 2, 14)))).result()
        outputs.append([runner.execute(plan(decode=rows)).result().token_ids[:, 0].tolist() for rows in steps])
    assert outputs[0] == outputs[1]
    assert graphed.graphs.num_replays == 3 + 2 + 2 + 1
    assert {shape for shape in graphed.graphs.captured if not shape.num_prefills} == {
        StepShape(4, 1024),
        StepShape(2, 1024),
        StepShape(1, 1024),
    }
    eager.shutdown()
    graphed.shutdown()


TOTALS = {0: 3 + 11, 2: 1 + 30, 5: 16 + 1}
"""Rows 0 and 5 get all their tokens on the way, row 5 its only one from its prompt."""


def decoded(runner: ModelRunner, num_steps: int, *, num_tokens: int = 24) -> dict[int, list[int]]:
    """Decode rows 0, 2 and 5 in plans of ``num_steps`` steps; return the tokens that count."""
    admit_three_rows(runner, TOTALS)
    made = plan(decode=[5, 0, 2], num_decode_steps=num_steps, growth=grow((2, 1, 13)))
    pending = [runner.execute(made) for _ in range(num_tokens // num_steps)]
    tokens = torch.cat([torch.from_numpy(each.result().token_ids) for each in pending], dim=1)
    return {0: tokens[1, :10].tolist(), 2: tokens[2].tolist()}


@pytest.mark.parametrize("warm", [False, True], ids=["lazy", "warm"])
def test_several_steps_at_once_give_the_tokens_of_one_by_one(folder, warm):
    eager, graphed = make_runner(folder, enforce_eager=True), make_runner(folder)
    expected = decoded(eager, 1)
    assert all(decoded(eager, num_steps) == expected for num_steps in (2, 8))
    if warm:
        graphed.warm_up()
        replays = graphed.graphs.num_replays
    for num_steps in (1, 2, 8, 3, 4, 6, 8, 8, 1, 2):
        assert decoded(graphed, num_steps) == expected, num_steps
    assert StepShape(4, 1024, num_steps=8) in graphed.graphs.captured
    if warm:
        # three or six steps have no graph of their own: they are as many launches
        num_decodes, num_prompts = 24 + 12 + 3 + 24 + 6 + 24 + 3 + 3 + 24 + 12, 10 - CAPTURE_AFTER
        assert graphed.graphs.num_replays - replays == num_decodes + num_prompts
    eager.shutdown()
    graphed.shutdown()


def products() -> None:
    x = torch.ones(256, 256, device="cuda")
    assert float((x @ x).sum()) == 256.0**3


def pinned_memory() -> None:
    assert float(torch.ones(2**16, pin_memory=True).to("cuda", non_blocking=True).sum()) == 2.0**16


USES = {
    "products": products,
    "empty_cache": torch.cuda.empty_cache,
    "pinned memory": pinned_memory,
}


@contextlib.contextmanager
def users_thread(use: Callable[[], None]) -> Iterator[None]:
    """Call ``use`` in another thread again and again while the body runs."""
    stop = threading.Event()

    def use_cuda() -> int:
        num_uses = 0
        while not stop.is_set():
            use()
            num_uses += 1
        return num_uses

    with concurrent.futures.ThreadPoolExecutor(1) as user:
        uses = user.submit(use_cuda)
        try:
            yield
        finally:
            stop.set()
        assert uses.result() > 10


@pytest.mark.parametrize("use", USES)
def test_the_users_thread_may_use_cuda_while_graphs_are_captured(folder, use):
    expected = eager_tokens(folder, TRAFFIC["sampled"])
    with users_thread(USES[use]), core_engine(folder) as engine:
        assert engine.tokens(*requests_of(TRAFFIC["sampled"])) == expected
        assert len(engine.runner.graphs.captured) >= 3


def test_waiting_for_the_whole_device_may_end_captures_but_costs_no_token(folder):
    def synchronize() -> None:
        with contextlib.suppress(RuntimeError):  # CUDA refuses during a capture
            torch.cuda.synchronize()
        time.sleep(1e-4)  # a bare loop would keep the interpreter lock from the engine

    expected = eager_tokens(folder, TRAFFIC["sampled"])
    torch.cuda.empty_cache()
    before = torch.cuda.mem_get_info()[0]
    with users_thread(synchronize), core_engine(folder) as engine:
        assert engine.tokens(*requests_of(TRAFFIC["sampled"])) == expected
        graphs = engine.runner.graphs
        assert graphs.captured or "synchronized" in graphs.stopped_by
        assert engine.tokens(*requests_of(TRAFFIC["sampled"])) == expected
    assert before - torch.cuda.mem_get_info()[0] < 64 * 2**20


def test_too_little_memory_for_a_capture_leaves_the_eager_steps(folder, monkeypatch):
    expected = eager_tokens(folder, TRAFFIC["sampled"])
    with core_engine(folder) as engine:
        graphs = engine.runner.graphs
        monkeypatch.setattr(graphs, "_arena_bytes", 2**50)
        assert engine.tokens(*requests_of(TRAFFIC["sampled"])) == expected
        assert "memory" in graphs.stopped_by and not graphs.captured and graphs.num_replays == 0

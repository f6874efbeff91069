"""Offloaded layers on a GPU: the same tokens however late copies are, in eager steps and graphs; pinned memory."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.core_engine import CoreEngine
from support.device_waits import waiting_is_an_error
from support.tiny_models import ARCHITECTURES, VOCAB_SIZE, tiny_model

from pagednb.config import EngineConfig
from pagednb.kernels.kernel_set import select_kernels
from pagednb.models.decoder import Decoder
from pagednb.models.host_arena import host_arena
from pagednb.models.kept_weights import KeptWeights
from pagednb.models.load import load_model
from pagednb.models.offload_plan import plan_offload
from pagednb.models.pinned_memory import pin
from pagednb.models.resolve import resolve_model
from pagednb.models.weight_copies import StreamedCopies
from pagednb.runner import capture_policy
from pagednb.runner.factory import build_runner
from pagednb.sampling_params import SamplingParams

pytestmark = pytest.mark.gpu

NUM_LAYERS = 7
LIMITS = {"max_model_len": 144, "max_num_seqs": 6}
PROMPT_LENGTHS = (1, 40, 2, 15, 90, 16, 17, 3)
MAX_TOKENS = (30, 12, 33, 5, 21, 28, 9, 30)
KINDS = (
    SamplingParams(temperature=0.0, ignore_eos=True),
    SamplingParams(temperature=1.0, ignore_eos=True),
    SamplingParams(temperature=1.0, top_k=9, top_p=0.9, ignore_eos=True),
)
LOGPROBS = SamplingParams(temperature=0.0, logprobs=3, ignore_eos=True)
LATE_CYCLES = 300_000  # about 0.2 ms: longer than a tiny model's layers
VERY_LATE_CYCLES = 300_000_000  # about 0.2 s: longer than a busy host takes from one line to the next
MEMORY_SLACK_BYTES = 64 * 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    return tiny_model("qwen3", tmp_path_factory.mktemp("tiny"), num_hidden_layers=NUM_LAYERS)


@pytest.fixture
def late_copies(monkeypatch) -> None:
    """Every copy poisons its buffer at once and comes long after: who does not wait for it reads NaN."""
    start = StreamedCopies.start

    def start_late(self: StreamedCopies, source: torch.Tensor, target: torch.Tensor) -> Any:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            target.fill_(0xFF)
            torch.cuda._sleep(LATE_CYCLES)
        return start(self, source, target)

    monkeypatch.setattr(StreamedCopies, "start", start_late)


def gib_of(folder: pathlib.Path, num_freed: int, dtype: str = "float32") -> float:
    """What ``num_freed`` layers free, nearly; 0 for none."""
    resolved = resolve_model(EngineConfig(model=folder, device="cuda", dtype=dtype))
    return max(0.0, num_freed - 0.5) * plan_offload(resolved, 0).layout.weight_bytes / 2**30


@contextlib.contextmanager
def core_engine(folder: pathlib.Path, num_freed: int = 0, **options: Any) -> Iterator[CoreEngine]:
    dtype = options.get("dtype", "float32")
    options = {"launch_ahead": 1, "gpu_memory_utilization": 0.5, **LIMITS, **options}
    engine = CoreEngine(folder, device="cuda", cpu_offload_gb=gib_of(folder, num_freed, dtype), **options)
    try:
        yield engine
    finally:
        engine.runner.shutdown()


def tokens_of(engine: CoreEngine, *, with_logprobs: bool = False) -> list[list[int]]:
    """Together, then each alone: steps of several rows and of one, whose products read weights ahead."""
    generator = torch.Generator().manual_seed(11)
    prompts = [torch.randint(3, VOCAB_SIZE, (n,), generator=generator).tolist() for n in PROMPT_LENGTHS]
    kinds = [LOGPROBS, *KINDS] if with_logprobs else KINDS
    params = [
        dataclasses.replace(kinds[i % len(kinds)], max_tokens=max_tokens, seed=i)
        for i, max_tokens in enumerate(MAX_TOKENS)
    ]
    made = engine.tokens(prompts, params)
    made += [engine.tokens([prompt], [each])[0] for prompt, each in zip(prompts[:3], params[:3], strict=True)]
    return made


@pytest.mark.parametrize("enforce_eager", [True, False], ids=["eager", "graphs"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tokens_are_the_same_on_every_architecture(architecture, enforce_eager, tmp_path, late_copies):
    folder = tiny_model(architecture, tmp_path, num_hidden_layers=NUM_LAYERS)
    with core_engine(folder, enforce_eager=enforce_eager) as engine:
        expected = tokens_of(engine)
    with core_engine(folder, 3, enforce_eager=enforce_eager) as engine:
        assert tokens_of(engine) == expected
        assert tokens_of(engine) == expected, "with what was captured the first time"
        assert enforce_eager or engine.runner.graphs.num_replays > 0


@pytest.mark.parametrize("num_freed", [1, 2, NUM_LAYERS - 2])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "options",
    [{}, {"decode_steps": 8}, {"max_num_batched_tokens": 24}, {"num_gpu_blocks_override": 40, "block_size": 4}],
    ids=["plain", "8 steps at once", "chunks", "preemption"],
)
def test_tokens_are_the_same_in_all_traffic(folder, monkeypatch, late_copies, num_freed, dtype, options):
    monkeypatch.setattr(capture_policy, "CAPTURE_AFTER", 1)
    with core_engine(folder, dtype=dtype, **options) as engine:
        expected = tokens_of(engine, with_logprobs=True)
    with core_engine(folder, num_freed, dtype=dtype, warms_up=True, **options) as engine:
        assert tokens_of(engine, with_logprobs=True) == expected
        assert engine.runner.graphs.num_replays > 0


def test_a_capture_that_fails_halfway_leaves_the_eager_steps(folder, monkeypatch):
    """The copies' stream has joined the capture by then and must be free again."""
    with core_engine(folder) as engine:
        expected = tokens_of(engine)
    wait = StreamedCopies.wait

    def wait_or_fail(self: StreamedCopies, arrival: Any) -> None:
        if torch.cuda.is_current_stream_capturing():
            raise torch.OutOfMemoryError("as if")
        wait(self, arrival)

    monkeypatch.setattr(StreamedCopies, "wait", wait_or_fail)
    with core_engine(folder, 2) as engine:
        for _ in range(2):
            assert tokens_of(engine) == expected
        assert "memory" in engine.runner.graphs.stopped_by and not engine.runner.graphs.captured


def load(folder: pathlib.Path, num_freed: int, **options: Any) -> Decoder:
    config = EngineConfig(
        model=folder, device="cuda", dtype="float32", cpu_offload_gb=gib_of(folder, num_freed), **options
    )
    with torch.inference_mode():
        return load_model(resolve_model(config), config, select_kernels(torch.device("cuda")))


@pytest.mark.parametrize("load_format", ["safetensors", "dummy"])
def test_weights_are_those_of_a_plain_load_and_lie_where_they_should(folder, load_format):
    plain, offloaded = load(folder, 0, load_format=load_format), load(folder, 3, load_format=load_format)
    layers = offloaded._offloaded._layers
    assert len(layers) == 5
    for name, tensor in plain.tensors.items():
        stored = offloaded.tensors[name]
        is_away = any(name.startswith(f"layers.{layer}.") for layer in layers)
        assert stored.device.type == ("cpu" if is_away else "cuda")
        assert torch.equal(stored.cpu(), tensor.cpu())
    assert offloaded._offloaded._sources.is_pinned()
    assert all(tensor.is_cuda for tensor in offloaded._offloaded.computed.values())


def test_copies_are_launched_without_waiting(folder):
    offloaded = load(folder, 3)._offloaded
    with torch.inference_mode():
        for _ in range(2):
            with waiting_is_an_error():
                offloaded.begin()
                for turn in range(5):
                    offloaded.arrive(turn)
                    offloaded.leave(turn)
    torch.cuda.synchronize()
    assert torch.equal(offloaded._buffers[0].cpu(), offloaded._sources[4])
    assert torch.equal(offloaded._buffers[1].cpu(), offloaded._sources[3])


@pytest.mark.parametrize("waits", [True, False])
def test_who_does_not_wait_for_a_late_copy_reads_something_else(folder, late_copies, monkeypatch, waits):
    monkeypatch.setitem(globals(), "LATE_CYCLES", VERY_LATE_CYCLES)
    offloaded = load(folder, 3)._offloaded
    with torch.inference_mode():
        offloaded.begin()
        if waits:
            offloaded.arrive(0)
        seen = offloaded._buffers[0].clone()
    torch.cuda.synchronize()
    assert torch.equal(seen.cpu(), offloaded._sources[0]) == waits


def test_while_idle_only_captures_copy(folder):
    offloaded = load(folder, 3)._offloaded
    stream = torch.cuda.Stream()
    graph = torch.cuda.CUDAGraph()

    def run_pass() -> None:
        offloaded.begin()
        for turn in range(5):
            offloaded.arrive(turn)
            offloaded.leave(turn)

    with torch.inference_mode(), offloaded.idle():
        run_pass()
        torch.cuda.synchronize()
        assert not offloaded._buffers.any()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            run_pass()
    assert not offloaded._buffers.any()
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(offloaded._buffers[0].cpu(), offloaded._sources[4])


def test_host_memory_is_pinned_for_as_long_as_the_layers_live(folder):
    decoder = load(folder, 1)
    memory = decoder._offloaded._sources
    assert memory.is_pinned()
    del decoder
    gc.collect()
    assert not memory.is_pinned()
    torch.cuda.synchronize()  # raises if unpinning left an error behind


def test_a_refusal_to_pin_is_told_once():
    class Owner:
        pass

    owner, memory, stream = Owner(), host_arena(2**20), torch.cuda.Stream()
    assert pin(memory, stream, owner=owner) == 0 and memory.is_pinned()
    assert pin(memory, stream, owner=owner) != 0, "nobody can pin it twice"
    assert torch.ones(3, device="cuda").sum().item() == 3
    del owner
    assert not memory.is_pinned()


def test_the_device_holds_less_by_what_was_asked_for(tmp_path):
    """A model of some size: 12 layers of 25 MiB each."""
    sizes = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "head_dim": 128}
    folder = tiny_model("llama3.1", tmp_path, **sizes)

    def allocated(cpu_offload_gb: float) -> tuple[int, int]:
        config = EngineConfig(
            model=folder,
            device="cuda",
            dtype="float32",
            num_gpu_blocks_override=24,
            enforce_eager=True,
            cpu_offload_gb=cpu_offload_gb,
            **LIMITS,
        )
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()[0]
        runner = build_runner(config, resolve_model(config))
        held, reported = torch.cuda.memory_allocated() - before[0], runner.memory.weight_bytes
        runner.shutdown()
        assert torch.cuda.memory_allocated() == before[0]
        assert before[1] - torch.cuda.mem_get_info()[0] < MEMORY_SLACK_BYTES
        return held, reported

    allocated(0)  # what the context keeps after its first use
    whole, whole_reported = allocated(0)
    less, less_reported = allocated(0.1)
    assert whole - less >= 0.1 * 2**30 - 2**20  # allocations are rounded up
    assert abs((whole - less) - (whole_reported - less_reported)) < 2**20


@pytest.mark.parametrize("num_freed", [0, 3])
def test_asleep_and_awake_again_it_says_the_same(folder, num_freed):
    with core_engine(folder, num_freed) as engine:
        expected = tokens_of(engine)
        kept = KeptWeights.of(engine.runner.weights)
        config = EngineConfig(
            model=folder,
            device="cuda",
            dtype="float32",
            gpu_memory_utilization=0.5,
            num_gpu_blocks_override=engine.runner.memory.num_blocks,
            cpu_offload_gb=gib_of(folder, num_freed),
            **LIMITS,
        )
        engine.runner.shutdown()
        engine.runner.adopt(build_runner(config, resolve_model(config), kept=kept))
        engine.core.reset()
        assert tokens_of(engine) == expected

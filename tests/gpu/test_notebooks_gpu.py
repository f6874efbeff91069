"""Real notebook kernels on a GPU: two share it, an interrupt comes through, and unloading gives it back."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Iterator

import pytest

pytest.importorskip("ipykernel")
pytest.importorskip("anywidget")
from support.kernel import RealKernel, real_kernel
from support.tiny_models import tiny_model

from pagednb.benchmark.shapes import model_folder

pytestmark = pytest.mark.gpu

TOO_LONG_S = 5.0
"""Far more than an interrupt takes (0.1 s), and far less than the work that it ends."""
MAX_SHARE_LEFT = 0.01
"""Of what a loaded engine holds; the code of kernels and libraries stays in a process's context."""


def ask(num_rows: int, max_tokens: int) -> str:
    """Return a cell that generates exactly so much."""
    return (
        f"params = pnb.SamplingParams(temperature=0, max_tokens={max_tokens}, ignore_eos=True, detokenize=False)\n"
        f"rows = [{{'prompt_token_ids': [row % 1000 + 5, 17, 42]}} for row in range({num_rows})]\n"
        "tokens = [output.outputs[0].token_ids for output in llm.generate(rows, params, use_tqdm=False)]\n"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A model whose cache takes all the memory that it may; its random weights are the same in every process."""
    return pathlib.Path(model_folder("qwen3-0.6b", tmp_path_factory.mktemp("shape")))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A model with a tokenizer, for dataframes."""
    return tiny_model("llama3.2", tmp_path_factory.mktemp("model"), tokenizer=True, eos_token_id=None)


@pytest.fixture
def first() -> Iterator[RealKernel]:
    with real_kernel() as kernel:
        kernel.run("%load_ext pagednb\nimport pagednb as pnb, torch\ntorch.zeros(1, device='cuda');")
        yield kernel


@pytest.fixture
def second() -> Iterator[RealKernel]:
    with real_kernel() as kernel:
        kernel.run("%load_ext pagednb\nimport pagednb as pnb")
        yield kernel


def load(folder: pathlib.Path, utilization: float) -> str:
    options = f"skip_tokenizer_init=True, load_format='dummy', gpu_memory_utilization={utilization}"
    return f"llm = pnb.load({str(folder)!r}, {options})"


def used_mib() -> int:
    """What all processes hold of the GPU, as the driver says."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(query, check=True, capture_output=True, text=True).stdout.split()[0])


def test_two_notebooks_answer_on_one_gpu(first: RealKernel, second: RealKernel, folder: pathlib.Path) -> None:
    cell = ask(200, 60)
    first.run(load(folder, 0.4))
    second.run(load(folder, 0.8))
    first.run(cell + "alone = tokens")
    both = [kernel.start(cell) for kernel in (first, second)]
    for kernel, msg_id in zip((first, second), both, strict=True):
        assert kernel.finish(msg_id).reply["status"] == "ok"
    first.run("assert len(tokens) == 200 and {len(row) for row in tokens} == {60}")
    first.run("assert tokens == alone")
    said = [kernel.run("print(hash(tuple(map(tuple, tokens))))").stdout for kernel in (first, second)]
    assert said[0] == said[1]


def test_a_second_notebook_is_told_that_the_gpu_is_taken(
    first: RealKernel, second: RealKernel, folder: pathlib.Path
) -> None:
    first.run(load(folder, 0.8))
    refused = second.finish(second.start(load(folder, 0.8))).reply
    assert refused.get("ename") == "GPUMemoryError", refused
    print(refused["evalue"])
    assert "others" in refused["evalue"] and "gpu_memory_utilization" in refused["evalue"]
    first.run("%llm unload")
    second.run(load(folder, 0.8))
    second.run(ask(3, 5))


def test_unload_ext_gives_the_gpu_back(first: RealKernel, folder: pathlib.Path) -> None:
    before = used_mib()
    first.run(load(folder, 0.5))
    first.run(ask(50, 20))
    loaded = used_mib()
    first.run("%unload_ext pagednb\ndel llm")
    after = used_mib()
    print(f"{before} MiB before, {loaded} loaded, {after} after")
    assert loaded - before > 10_000
    assert after - before < MAX_SHARE_LEFT * (loaded - before)


@pytest.mark.parametrize("begins", ["", "await __import__('asyncio').sleep(0)\n"], ids=["plain", "awaiting"])
def test_an_interrupt_gives_the_prompt_back(first: RealKernel, folder: pathlib.Path, begins: str) -> None:
    first.run(load(folder, 0.5))
    interrupt(first, begins + ask(20_000, 400))
    first.run(ask(3, 5))


@pytest.mark.parametrize("call", ["frame.llm.generate(**ask)", "await frame.llm.agenerate(**ask)"])
def test_an_interrupt_ends_a_dataframe(first: RealKernel, tiny: pathlib.Path, call: str) -> None:
    first.run(f"llm = pnb.load({str(tiny)!r})\nimport pandas as pd")
    first.run("frame = pd.DataFrame({'text': [f'ticket {n} came late' for n in range(200_000)]})")
    first.run("ask = dict(template='{text}', max_tokens=400, ignore_eos=True, cache=False)")
    interrupt(first, call)
    first.run("assert frame.head(3).llm.generate(**ask)['generated'].notna().all()")


def interrupt(kernel: RealKernel, cell: str) -> None:
    """Run a cell for a second, then interrupt it."""
    executed, answer_s = kernel.interrupted(cell, after_s=1.0)
    print(f"the prompt was back in {answer_s:.3f} s")
    assert executed.reply.get("ename") in ("KeyboardInterrupt", "CancelledError"), executed.reply
    assert answer_s < TOO_LONG_S

"""Real notebook kernels on a GPU: two share it, an interrupt comes through, and unloading gives it back."""

from __future__ import annotations

import pathlib
import subprocess
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("ipykernel")
pytest.importorskip("anywidget")
from support.kernel import RealKernel, real_kernel
from support.tiny_models import tiny_model

pytestmark = pytest.mark.gpu

TOO_LONG_S = 5.0
"""Far more than an interrupt takes (0.1 s), and far less than the work that it ends."""
SLACK_MIB = 200
"""Kernels that Triton and torch loaded stay in a process's context."""


def ask(num_rows: int, max_tokens: int) -> str:
    """Return a cell that generates exactly so much."""
    return (
        f"params = pnb.SamplingParams(temperature=0, max_tokens={max_tokens}, ignore_eos=True)\n"
        f"rows = [f'ticket {{n}} came late' for n in range({num_rows})]\n"
        "tokens = [output.outputs[0].token_ids for output in llm.generate(rows, params, use_tqdm=False)]\n"
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
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


def load(model: pathlib.Path, utilization: float) -> str:
    options = f"device='cuda', dtype='float32', gpu_memory_utilization={utilization}"
    return f"llm = pnb.load({str(model)!r}, {options})"


def used_mib() -> int:
    """What all processes hold of the GPU, as the driver says."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(query, check=True, capture_output=True, text=True).stdout.split()[0])


def test_two_notebooks_answer_on_one_gpu(first: RealKernel, second: RealKernel, model: pathlib.Path) -> None:
    first.run(load(model, 0.3))
    second.run(load(model, 0.6))
    cell = ask(200, 60)
    first.run(cell + "alone = tokens")
    both = [kernel.start(cell) for kernel in (first, second)]
    for kernel, msg_id in zip((first, second), both, strict=True):
        assert kernel.finish(msg_id).reply["status"] == "ok"
    first.run("assert tokens == alone")
    said = [kernel.run("print(hash(tuple(map(tuple, tokens))))").stdout for kernel in (first, second)]
    assert said[0] == said[1]


def test_a_second_notebook_is_told_that_the_gpu_is_taken(
    first: RealKernel, second: RealKernel, model: pathlib.Path
) -> None:
    first.run(load(model, 0.8))
    refused = second.finish(second.start(load(model, 0.8))).reply
    assert refused["ename"] == "GPUMemoryError", refused
    print(refused["evalue"])
    assert "others" in refused["evalue"] and "gpu_memory_utilization" in refused["evalue"]
    first.run("%llm unload")
    second.run(load(model, 0.8))
    second.run(ask(3, 5))


def test_unload_ext_gives_the_gpu_back(first: RealKernel, model: pathlib.Path) -> None:
    before = used_mib()
    first.run(load(model, 0.5))
    first.run(ask(50, 20))
    loaded = used_mib()
    first.run("%unload_ext pagednb\ndel llm")
    after = used_mib()
    print(f"{before} MiB before, {loaded} loaded, {after} after")
    assert loaded - before > 10_000
    assert after - before < SLACK_MIB


@pytest.mark.parametrize(
    "cell",
    [
        ask(2000, 400),
        "import pandas as pd\n"
        "frame = pd.DataFrame({'text': [f'ticket {n} came late' for n in range(20_000)]})\n"
        "await frame.llm.agenerate('text', max_tokens=400, ignore_eos=True)",
    ],
)
def test_an_interrupt_gives_the_prompt_back(first: RealKernel, model: pathlib.Path, cell: str) -> None:
    first.run(load(model, 0.5))
    msg_id = first.start(f"print('running', flush=True)\n{cell}")
    first.wait_for(msg_id, "stream")
    time.sleep(1.0)
    begin_s = time.perf_counter()
    first.interrupt()
    reply = first.reply_to(msg_id)
    answer_s = time.perf_counter() - begin_s
    print(f"the prompt was back in {answer_s:.3f} s")
    first.drain(msg_id)
    assert reply["status"] == "error" and reply["ename"] in ("KeyboardInterrupt", "CancelledError"), reply
    assert answer_s < TOO_LONG_S
    first.run(ask(3, 5))

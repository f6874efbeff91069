"""Time starts from nothing: ``python tests/perf/bench_load.py`` writes a random checkpoint, new processes load it.

The first start finds no compiled Triton kernel, later ones find all; the weights are in the page cache each time. Every
process stops its clock at its first generated token and says when each part of the load ran. Parts overlap, and one
that several threads run counts the seconds of all. Prints a table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

CHUNK_BYTES = 64 * 2**20
SHARD_BYTES = 5 * 10**9
PROMPT_LENGTH = 128

# part -> the function whose calls are it
PARTS = {
    "resolve config": "pagednb.models.resolve:resolve_model",
    "tokenizer": "pagednb.engine.build:load_text_codec",
    "read weights": "pagednb.models.staging:_Work.read_all",
    "warm up": "pagednb.runner.model_runner:ModelRunner.warm_up",
    "compile or fetch kernels": "triton.runtime.jit:JITFunction._do_compile",
    "capture graphs": "pagednb.runner.step_graphs:StepGraphs._capture",
}


class Timeline:
    """When each part of a start ran, in seconds since the process was asked for."""

    def __init__(self, start_s: float) -> None:
        self._start_s = start_s
        self.parts: dict[str, dict[str, float]] = {}

    def now(self) -> float:
        """Seconds since the process was asked for."""
        return time.time() - self._start_s

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the body to part ``name``."""
        begin = self.now()
        try:
            yield
        finally:
            row = self.parts.setdefault(name, {"begin": begin, "end": 0.0, "seconds": 0.0, "calls": 0})
            end = self.now()
            row["end"] = max(row["end"], end)
            row["seconds"] += end - begin
            row["calls"] += 1

    def watch(self, name: str, target: str) -> None:
        """Count every call of ``module:function`` or ``module:Class.method`` to part ``name``."""
        module, _, path = target.partition(":")
        *owners, attribute = path.split(".")
        owner: Any = importlib.import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        function: Callable[..., Any] = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        setattr(owner, attribute, timed)


def start_once(folder: str, start_s: float, options: dict[str, Any]) -> dict[str, Any]:
    """Load ``folder`` in this process, generate one token, and return the timeline."""
    timeline = Timeline(start_s)
    timeline.parts["start Python"] = {"begin": 0.0, "end": timeline.now(), "seconds": timeline.now(), "calls": 1}
    with timeline.part("import torch"):
        import torch
    with timeline.part("CUDA context"):
        torch.zeros(1, device="cuda" if torch.cuda.is_available() else "cpu")
    with timeline.part("import pagednb"):
        import pagednb
    with timeline.part("import engine"):
        for target in PARTS.values():
            importlib.import_module(target.partition(":")[0])
        importlib.import_module("pagednb.runner.factory")
    for name, target in PARTS.items():
        timeline.watch(name, target)
    with timeline.part("LLM()"):
        llm = pagednb.LLM(folder, **options)
    params = pagednb.SamplingParams(max_tokens=1, temperature=1.0, ignore_eos=True, detokenize=False)
    for name in ("first token", "second token"):
        with timeline.part(name):
            llm.generate([{"prompt_token_ids": list(range(10, 10 + PROMPT_LENGTH))}], params, use_tqdm=False)
    llm.shutdown()
    return {"parts": timeline.parts, "torch": torch.__version__}


def run_start(folder: pathlib.Path, triton_cache: pathlib.Path, options: dict[str, Any]) -> dict[str, Any]:
    """Start a new process that loads ``folder``; return what it reports."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(triton_cache), "PAGEDNB_PROGRESS": "0"}
    command = [sys.executable, __file__, "--child", str(folder), json.dumps(options), str(time.time())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the start failed:\n{done.stderr}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def write_checkpoint(model: str, root: pathlib.Path) -> pathlib.Path:
    """Write random weights of ``model`` as safetensors shards below ``root``, unless they are there."""
    import torch
    import transformers
    from safetensors.torch import save_file

    from pagednb.benchmark.shapes import model_folder

    folder = model_folder(model, root)
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return folder
    with torch.device("meta"):
        config = transformers.AutoConfig.from_pretrained(folder)
        empty = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).state_dict()
    if config.tie_word_embeddings:
        del empty["lm_head.weight"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name_to_file: dict[str, str] = {}
    for number, names in enumerate(_shards(empty)):
        shard = {name: torch.empty_like(empty[name], device=device).normal_(0.0, 0.02).cpu() for name in names}
        file = f"model-{number:05}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        name_to_file |= dict.fromkeys(names, file)
    index.write_text(json.dumps({"weight_map": name_to_file}))
    return folder


def _shards(tensors: dict[str, Any]) -> Iterator[list[str]]:
    names: list[str] = []
    num_bytes = 0
    for name, tensor in tensors.items():
        if names and num_bytes + tensor.nbytes > SHARD_BYTES:
            yield names
            names, num_bytes = [], 0
        names.append(name)
        num_bytes += tensor.nbytes
    yield names


def warm_page_cache(folder: pathlib.Path) -> int:
    """Read all weights once; return their bytes."""
    buffer = bytearray(CHUNK_BYTES)
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb", buffering=0) as file:
            while num_read := file.readinto(buffer):
                total += num_read
    return total


def print_start(title: str, report: dict[str, Any], num_bytes: int) -> None:
    """Print one start's timeline, and its summary."""
    parts = report["parts"]
    print(f"\n{title}\n{'part':28}{'begin':>8}{'end':>8}{'seconds':>9}{'calls':>7}")
    for name, row in sorted(parts.items(), key=lambda item: item[1]["begin"]):
        print(f"{name:28}{row['begin']:8.2f}{row['end']:8.2f}{row['seconds']:9.2f}{row['calls']:7.0f}")
    first = parts["first token"]["end"]
    report["first_token_s"] = first
    report["own_s"] = first - parts["CUDA context"]["end"]
    report["weights_gb_per_s"] = num_bytes / (parts["read weights"]["end"] - parts["read weights"]["begin"]) / 1e9
    print(
        f"first token after {first:.2f} s, of which after torch and CUDA stood {report['own_s']:.2f} s; "
        f"weights {report['weights_gb_per_s']:.1f} GB/s",
        flush=True,
    )


def main() -> None:
    """Parse the command line, write the checkpoint, start processes, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("llama-3.1-8b", "qwen3-0.6b"), default="llama-3.1-8b")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "pagednb-bench")
    parser.add_argument("--starts", type=int, default=3, help="the first has no compiled kernels, the others do")
    args = parser.parse_args()
    folder = write_checkpoint(args.model, args.folder)
    num_bytes = warm_page_cache(folder)
    options = {"skip_tokenizer_init": True}
    reports = []
    with tempfile.TemporaryDirectory() as cache:
        for number in range(args.starts):
            report = run_start(folder, pathlib.Path(cache), options)
            title = f"start {number + 1}: kernels " + ("from the cache" if number else "compiled")
            print_start(title, report, num_bytes)
            reports.append({"title": title, **report})
    print(json.dumps({"model": args.model, "weight_bytes": num_bytes, "starts": reports}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(start_once(sys.argv[2], float(sys.argv[4]), json.loads(sys.argv[3]))))
    else:
        main()

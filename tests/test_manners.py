"""A guest in someone's process: what load did, unload undoes, and nothing else ever changed."""

from __future__ import annotations

import json
import subprocess
import sys

SNAPSHOT = """
import gc, json, logging, os, random, signal, sys, threading, warnings
import numpy as np
import torch

def digest(value):
    return hash(value if isinstance(value, (str, bytes, tuple, int)) else repr(value))

def snapshot():
    gc.collect()
    flags = torch.backends
    return {
        "torch rng": digest(torch.get_rng_state().numpy().tobytes()),
        "numpy rng": digest(repr(np.random.get_state())),
        "python rng": digest(repr(random.getstate())),
        "default dtype": str(torch.get_default_dtype()),
        "default device": str(torch.get_default_device()),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "torch threads": torch.get_num_threads(),
        "matmul": torch.get_float32_matmul_precision(),
        "cudnn": [flags.cudnn.enabled, flags.cudnn.benchmark, flags.cudnn.deterministic],
        "tf32": flags.cuda.matmul.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "environment": digest(repr(sorted(os.environ.items()))),
        "directory": os.getcwd(),
        "signals": {s.name: repr(signal.getsignal(s)) for s in signal.Signals},
        "root logger": [logging.getLogger().level, repr(logging.getLogger().handlers)],
        "threads": sorted(t.name for t in threading.enumerate() if not t.name.startswith("tqdm")),
        "hooks": [repr(sys.excepthook), repr(threading.excepthook), repr(sys.unraisablehook)],
        "switch interval": sys.getswitchinterval(),
        "garbage collector": [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()],
        "recursion limit": sys.getrecursionlimit(),
        "warning filters": len(warnings.filters),
        "children": os.path.exists("/proc/self/task") and open(f"/proc/self/task/{os.getpid()}/children").read(),
        "cuda touched": torch.cuda.is_initialized(),
        "engine tensors": sum(t.numel() for t in gc.get_objects() if type(t) in (torch.Tensor, torch.nn.Parameter)),
    }
"""

JOB = """
import pandas as pd, transformers, tqdm.auto  # the user's own imports come first; theirs is what they change
transformers.AutoTokenizer, transformers.LlamaConfig  # imported on first touch; sympy adds a filter
frame = pd.DataFrame({"text": ["a", "b"]})
before = snapshot()
import pagednb as pnb
after_import = snapshot()
llm = pnb.load(device="cpu")
loaded = [t.name for t in threading.enumerate()]
outputs = llm.generate(["Hello", "Who are you?"], pnb.SamplingParams(max_tokens=5), use_tqdm=False)
texts = [output.text for output in outputs]
llm.generate("Again", pnb.SamplingParams(max_tokens=3, seed=1, top_k=5, top_p=0.9), use_tqdm=False)
del llm, outputs
pnb.unload()
after = snapshot()
result = {"before": before, "after_import": after_import, "after": after, "loaded": loaded, "texts": texts}
json.dump(result, sys.stdout)
"""


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_load_generate_unload_leaves_the_process_as_it_was() -> None:
    result = json.loads(run_python(SNAPSHOT + JOB))
    assert len(result["texts"]) == 2
    assert any("pagednb" in name for name in result["loaded"])
    assert result["after_import"] == result["before"]
    assert result["after"] == result["before"]


def test_the_snapshot_can_see_a_change() -> None:
    code = SNAPSHOT + (
        "before = snapshot(); torch.manual_seed(1); kept = torch.zeros(3); os.environ['X'] = '1'; after = snapshot()\n"
        "json.dump([name for name in before if before[name] != after[name]], sys.stdout)"
    )
    assert json.loads(run_python(code)) == ["torch rng", "environment", "engine tensors"]

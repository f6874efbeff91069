"""The engine's options on the command line, the same for every command that loads a model; vLLM's names."""

from __future__ import annotations

import argparse
from typing import Any

from pagednb.config import DTYPES

_NAMES = (
    "dtype",
    "device",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "gpu_memory_utilization",
    "enforce_eager",
)


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; one that is not given leaves the engine's own default."""
    group = parser.add_argument_group("engine", "what is not given is chosen by model and device")
    group.add_argument("--dtype", choices=DTYPES, metavar="DTYPE", help=f"one of {', '.join(DTYPES)}")
    group.add_argument("--device", help="cpu, cuda or cuda:N; else a GPU if there is one")
    group.add_argument("--max-model-len", type=int, metavar="N", help="tokens of prompt and answer together at most")
    group.add_argument("--max-num-seqs", type=int, metavar="N", help="sequences that run at once")
    group.add_argument("--max-num-batched-tokens", type=int, metavar="N", help="tokens computed in one step at most")
    group.add_argument(
        "--gpu-memory-utilization",
        type=float,
        metavar="SHARE",
        help="share of the GPU's memory that may be in use in all, by other processes too (0.9)",
    )
    group.add_argument("--enforce-eager", action="store_true", default=None, help="never use CUDA graphs")


def given_engine_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given, by ``EngineConfig``'s names."""
    options = {name: getattr(args, name) for name in _NAMES}
    return {name: value for name, value in options.items() if value is not None}

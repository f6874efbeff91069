"""The engine's options, frozen: what the user asked for, checked before anything is allocated.

``EngineConfig`` holds the request, ``CacheGeometry`` and ``SchedulerConfig`` what it resolves to once model and device
are known. Nothing here knows torch, files or the network.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self, get_args

from pagednb.checks import is_64_bit, is_finite, is_whole, plain_number, require, signed_by_fields
from pagednb.errors import OptionError, refuse_unknown_options
from pagednb.vllm_options import NAMES, refuse_unbuilt_options

BLOCK_SIZES = (4, 8, 16, 32, 64, 128)
DTYPES = ("auto", "float32", "float", "bfloat16", "float16", "half")
LoadFormat = Literal["auto", "safetensors", "pt", "dummy"]
PreemptionMode = Literal["swap", "recompute"]

EMBEDDED_MODEL = "pagednb/embedded"
"""What the model inside the package is called; ``model=None`` is the same."""
MAX_NUM_SEQS = 2**16
"""Every row has state on host and device, used or not; no batch of this size pays."""

_PATHS = ("model", "tokenizer", "download_dir")
_SWITCHES = ("skip_tokenizer_init", "enable_prefix_caching", "enable_shared_prefix_attention", "enforce_eager")
_COUNTS = ("max_model_len", "num_gpu_blocks_override", "max_num_seqs", "max_num_batched_tokens")


@signed_by_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Options of ``pagednb.load`` and ``LLM``, with vLLM's names.

    Args:
        model: A local folder or a hub id; None, or "pagednb/embedded", is the one inside the package.
        served_model_name: What clients of ``pagednb.serve`` call the model: a name or several; None is ``model``.
        tokenizer: Folder or hub id of the tokenizer, if it is not the model's.
        revision: Branch, tag or commit on the hub.
        download_dir: Where hub files are kept, if not in the hub's usual cache.
        skip_tokenizer_init: Token ids in and out, no text.
        load_format: "auto", "safetensors", "pt" (``.bin`` files), or "dummy" for random weights.
        dtype: "auto", "bfloat16", "float16" ("half"), "float32" ("float"), or torch's own names for these; "auto" is
            float32 on a CPU.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
        max_model_len: Tokens of prompt and answer together at most; None is what the model is made for.
        block_size: Tokens of one KV block.
        num_gpu_blocks_override: KV blocks, instead of as many as the memory holds.
        gpu_memory_utilization: Share of the GPU's memory that may be in use in all, by other processes too.
        cpu_offload_gb: GiB of the GPU's memory to save by keeping decoder layers in host memory: each is copied to the
            GPU whenever it is computed, so a step lasts at least as long as those copies.
        swap_space: GiB of host memory that preempted requests may leave their KV blocks in; taken as it is needed.
        preemption_mode: What a request that loses its blocks does: "swap" them while there is room, "recompute" them,
            or None for whichever is cheaper by what was measured.
        max_num_seqs: Sequences that run at once; None lets the device choose.
        max_num_batched_tokens: Tokens computed in one step at most; None lets the device choose.
        enable_prefix_caching: Compute what prompts have in common once.
        enable_shared_prefix_attention: On a GPU, let many sequences that begin alike read that beginning at once.
        enforce_eager: Never use CUDA graphs.
        seed: Where requests without a seed get theirs from.

    Raises:
        OptionError: an unknown option (with the nearest name) or a value out of range.
        NotSupportedYetError: a vLLM option that is not built yet, set to anything but its default.
    """

    model: str | os.PathLike[str] | None = None
    served_model_name: str | tuple[str, ...] | list[str] | None = None
    tokenizer: str | os.PathLike[str] | None = None
    revision: str | None = None
    download_dir: str | os.PathLike[str] | None = None
    skip_tokenizer_init: bool = False
    load_format: LoadFormat = "auto"
    dtype: str = "auto"
    device: str = "auto"
    max_model_len: int | None = None
    block_size: int = 16
    num_gpu_blocks_override: int | None = None
    gpu_memory_utilization: float = 0.9
    cpu_offload_gb: float = 0
    swap_space: float = 0
    preemption_mode: PreemptionMode | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    enable_prefix_caching: bool = True
    enable_shared_prefix_attention: bool = True
    enforce_eager: bool = False
    seed: int = 0

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Refuse unknown and not-yet-built names before the generated ``__init__`` sees them."""
        refuse_unbuilt_options(options)
        known = [f.name for f in dataclasses.fields(cls)]
        refuse_unknown_options([name for name in options if name not in NAMES], known, owner="pagednb")
        return super().__new__(cls)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> EngineConfig:
        """Build a config from keyword options, dropping vLLM options that stand at a default without effect."""
        cls.__new__(cls, **options)
        return cls(**{name: value for name, value in options.items() if name not in NAMES})

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, plain_number(getattr(self, field.name)))
        if isinstance(self.served_model_name, list):
            object.__setattr__(self, "served_model_name", tuple(self.served_model_name))
        if str(self.dtype).startswith("torch."):
            object.__setattr__(self, "dtype", str(self.dtype).removeprefix("torch."))
        self._check_words()
        self._check_numbers()
        for name in _PATHS:
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else os.fspath(value))
        if self.model == EMBEDDED_MODEL:
            object.__setattr__(self, "model", None)

    def _check_words(self) -> None:
        for name in _PATHS:
            self._require(name, lambda value: isinstance(value, str | os.PathLike | None), "a text or a path")
        for name in _SWITCHES:
            self._require(name, lambda value: isinstance(value, bool), "True or False")
        self._require("revision", lambda value: isinstance(value, str | None), "a text")
        self._require("served_model_name", _are_names, "a name or a list of names")
        self._require("device", lambda value: isinstance(value, str), "a text such as 'auto', 'cpu' or 'cuda:0'")
        self._require("dtype", lambda value: value in DTYPES, f"one of {DTYPES}")
        modes = (*get_args(PreemptionMode), None)
        self._require("preemption_mode", lambda value: value in modes, f"one of {modes}")
        formats = get_args(LoadFormat)
        self._require("load_format", lambda value: value in formats, f"one of {formats}")

    def _check_numbers(self) -> None:
        self._require("block_size", lambda value: is_whole(value) and value in BLOCK_SIZES, f"one of {BLOCK_SIZES}")
        self._require("gpu_memory_utilization", lambda value: is_finite(value) and 0 < value <= 1, "in (0, 1]")
        self._require("cpu_offload_gb", lambda value: is_finite(value) and value >= 0, "a number of at least 0")
        self._require("swap_space", lambda value: is_finite(value) and value >= 0, "a number of at least 0")
        if self.preemption_mode == "swap" and not self.swap_space:
            raise OptionError(
                'preemption_mode="swap" with swap_space=0 has nowhere to swap to.', hint="Give swap_space, in GiB."
            )
        for name in _COUNTS:
            self._require(
                name, lambda value: value is None or (is_whole(value) and value >= 1), "a whole number of at least 1"
            )
        self._require("max_num_seqs", lambda value: value is None or value <= MAX_NUM_SEQS, f"at most {MAX_NUM_SEQS:,}")
        self._require("seed", is_64_bit, "a 64-bit whole number")

    def _require(self, name: str, is_valid: Callable[[Any], bool], expected: str) -> None:
        value = getattr(self, name)
        require(is_valid(value), f"Option {name}", value, expected)

    def difference(self, other: EngineConfig) -> dict[str, tuple[Any, Any]]:
        """Return the options whose values differ, as name -> (ours, theirs)."""
        names = (f.name for f in dataclasses.fields(self))
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _are_names(value: Any) -> bool:
    names = (value,) if isinstance(value, str) else value
    return names is None or (isinstance(names, tuple) and all(isinstance(name, str) and name for name in names))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CacheGeometry:
    """Size of the paged KV cache. Block 0 is scratch: padding writes go there and no request owns it.

    ``num_host_blocks`` more lie in host memory, for preempted requests.
    """

    num_blocks: int
    block_size: int
    max_model_len: int
    num_host_blocks: int = 0

    @property
    def max_blocks_per_seq(self) -> int:
        """Width of a block table: blocks that a sequence of ``max_model_len`` tokens needs."""
        return -(-self.max_model_len // self.block_size)

    @property
    def num_usable_tokens(self) -> int:
        """Tokens that fit when no block is wasted (scratch excluded)."""
        return (self.num_blocks - 1) * self.block_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """Limits of one step, and what the scheduler must know of the model.

    A plan names a group of at least ``min_shared_prefix_rows`` decoding rows with a common prefix if reading it once
    saves at least ``min_shared_prefix_tokens`` keys in each layer; None names none. With ``append_forced_tokens``
    tokens that a grammar leaves no choice about are not sampled one by one. Under ``preemption_mode`` "swap" preempted
    requests go to host memory as long as it has room, with None only where that is cheaper.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    enable_prefix_caching: bool = True
    eos_token_ids: tuple[int, ...] = ()
    min_shared_prefix_tokens: int | None = None
    min_shared_prefix_rows: int = 2
    append_forced_tokens: bool = True
    preemption_mode: PreemptionMode | None = None

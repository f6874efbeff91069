"""How many KV blocks fit: computed from the model's shapes and the memory free now, never tried out.

The factory asks before loading, to refuse early what cannot fit, and again after, with the memory that the weights
really left. Other users of the device are respected: ``gpu_memory_utilization`` bounds what the device holds in all.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib

import torch

from pagednb.config import SchedulerConfig
from pagednb.errors import GPUMemoryError
from pagednb.kv_cache.kv_store import KVStore
from pagednb.models.spec import DecoderSpec
from pagednb.runner.batch_state import BatchState
from pagednb.runner.capture_policy import MAX_GRAPHS
from pagednb.runner.step_shape import GraphShapes
from pagednb.sampling.sampler import LOGITS_CHUNK_BYTES
from pagednb.sampling.token_masks import TokenMaskTable

MAX_CPU_CACHE_BYTES = 4 * 2**30
CUDA_RESERVE_BYTES = 384 * 2**20
"""For what is not computed: GEMM workspaces, compiled kernels, fragmentation."""

# driver memory of one executable graph, and the cuBLAS workspaces that captured products use
_BYTES_PER_GRAPH = 2 * 2**20
_GRAPH_WORKSPACE_BYTES = 64 * 2**20

# split-KV decode leaves fp32 partial results: a split covers at least so many tokens, and there are at most so many
_MIN_SPLIT_TOKENS = 256
_MAX_DECODE_SPLITS = 64
_SHARED_PREFIX_PARTS = 4  # as many more with a group of rows that share a prefix


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceMemory:
    """Memory of a device at one moment; ``own_bytes`` are held by this process's PyTorch tensors."""

    device: torch.device
    total_bytes: int
    free_bytes: int
    own_bytes: int = 0

    @classmethod
    def measure(cls, device: torch.device) -> DeviceMemory:
        """Look at ``device`` now; on CUDA, memory that PyTorch caches for no tensor is given back first."""
        if device.type == "cpu":
            return cls(device=device, total_bytes=_physical_host_bytes(), free_bytes=_available_host_bytes())
        with torch.cuda.device(device):
            torch.cuda.empty_cache()
            free_bytes, total_bytes = torch.cuda.mem_get_info()
            own_bytes = torch.cuda.memory_allocated()
        return cls(device=device, total_bytes=total_bytes, free_bytes=free_bytes, own_bytes=own_bytes)

    @property
    def used_bytes(self) -> int:
        """Held by anyone."""
        return self.total_bytes - self.free_bytes

    def describe(self) -> str:
        """Say who holds it, for error messages."""
        text = f"{gib(self.free_bytes)} of {gib(self.total_bytes)} are free"
        if self.device.type == "cpu":
            return text
        foreign = gib(self.used_bytes - self.own_bytes)
        return f"{text}, this process's tensors hold {gib(self.own_bytes)}, other processes and contexts {foreign}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryReport:
    """Where the device's memory goes, in bytes. ``num_blocks`` are usable blocks (scratch excluded).

    ``offloaded_bytes`` of the weights live in host memory; ``weight_bytes`` has the buffers that they pass through.
    """

    device: str
    total_bytes: int
    used_before_bytes: int
    weight_bytes: int
    activation_bytes: int
    kv_cache_bytes: int
    num_blocks: int
    graph_bytes: int = 0  # kept free for CUDA graphs
    offloaded_bytes: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryNeeds:
    """What one engine needs besides its weights."""

    block_size: int
    bytes_per_block: int
    max_model_len: int
    activation_bytes: int
    useful_blocks: int  # a larger pool could hold nothing but old prefixes
    graph_arena_bytes: int = 0  # intermediate tensors of captured steps; 0 without CUDA graphs

    @classmethod
    def of(
        cls, spec: DecoderSpec, limits: SchedulerConfig, *, block_size: int, dtype: torch.dtype, with_graphs: bool
    ) -> MemoryNeeds:
        """Compute the needs of ``spec`` under ``limits``."""
        graph_limits = dataclasses.replace(
            limits,
            max_num_batched_tokens=GraphShapes.max_tokens(limits.max_num_seqs),
            max_num_seqs=GraphShapes.max_seqs(limits.max_num_seqs),
        )
        blocks_per_seq = -(-limits.max_model_len // block_size)
        rows_bytes = BatchState.num_bytes(limits.max_num_seqs, blocks_per_seq)
        mask_bytes = TokenMaskTable.num_bytes(limits.max_num_seqs, spec.vocab_size)
        return cls(
            block_size=block_size,
            bytes_per_block=KVStore.bytes_per_block(
                num_layers=spec.num_layers,
                num_kv_heads=spec.num_kv_heads,
                head_dim=spec.head_dim,
                block_size=block_size,
                dtype=dtype,
            ),
            max_model_len=limits.max_model_len,
            # rows_bytes again: a step gathers the block tables of its rows
            activation_bytes=activation_bound_bytes(spec, limits, dtype) + 2 * rows_bytes + mask_bytes,
            useful_blocks=limits.max_num_seqs * blocks_per_seq,
            graph_arena_bytes=activation_bound_bytes(spec, graph_limits, dtype) + 2 * rows_bytes if with_graphs else 0,
        )

    @property
    def graph_bytes(self) -> int:
        """All that CUDA graphs may take."""
        if not self.graph_arena_bytes:
            return 0
        return self.graph_arena_bytes + _GRAPH_WORKSPACE_BYTES + MAX_GRAPHS * _BYTES_PER_GRAPH

    @property
    def blocks_per_seq(self) -> int:
        """Blocks of one sequence of ``max_model_len`` tokens."""
        return -(-self.max_model_len // self.block_size)


def activation_bound_bytes(spec: DecoderSpec, limits: SchedulerConfig, dtype: torch.dtype) -> int:
    """Return an upper bound of what one step's intermediate tensors take at the same time."""
    query = spec.num_q_heads * spec.head_dim
    qkv = query + 2 * spec.num_kv_heads * spec.head_dim
    widest = max(qkv + 2 * query, 3 * spec.intermediate_size)
    hidden = 4 * spec.hidden_size  # residual, normed, a layer's output and the next one's
    per_token = (hidden + widest) * dtype.itemsize + 64  # 64: ids, positions, slots
    splits = min(_MAX_DECODE_SPLITS, -(-limits.max_model_len // _MIN_SPLIT_TOKENS))
    if limits.min_shared_prefix_tokens is not None:
        splits += _SHARED_PREFIX_PARTS
    partials = limits.max_num_seqs * spec.num_q_heads * splits * (spec.head_dim + 1) * 4
    num_logits = min(limits.max_num_seqs * spec.vocab_size, LOGITS_CHUNK_BYTES // 4 + spec.vocab_size)
    logits = num_logits * (4 + 4 + dtype.itemsize)  # fp32, the sampler's copy, the product in the model's dtype
    return limits.max_num_batched_tokens * per_token + max(partials, logits)


def blocks_that_fit(needs: MemoryNeeds, memory: DeviceMemory, *, utilization: float, bytes_to_load: int = 0) -> int:
    """Return the usable blocks that ``memory`` holds once ``bytes_to_load`` more are taken.

    Raises:
        GPUMemoryError: not even one sequence of ``max_model_len`` fits.
    """
    if memory.device.type == "cpu":
        budget = min(MAX_CPU_CACHE_BYTES, (memory.free_bytes - bytes_to_load) // 4)
    else:
        ceiling = int(memory.total_bytes * utilization) - memory.used_bytes
        budget = ceiling - bytes_to_load - needs.activation_bytes - needs.graph_bytes - CUDA_RESERVE_BYTES
    num_blocks = max(0, budget // needs.bytes_per_block - 1)  # one is scratch
    if num_blocks < needs.blocks_per_seq:
        raise _too_little(needs, memory, num_blocks=num_blocks, utilization=utilization, bytes_to_load=bytes_to_load)
    return min(num_blocks, needs.useful_blocks)


def check_override_fits(needs: MemoryNeeds, memory: DeviceMemory, *, num_blocks: int, bytes_to_load: int = 0) -> None:
    """Raise GPUMemoryError when so many blocks, as ``num_gpu_blocks_override`` asks for, need more than is free."""
    wanted = (num_blocks + 1) * needs.bytes_per_block + needs.activation_bytes + needs.graph_bytes + bytes_to_load
    if wanted > memory.free_bytes:
        raise GPUMemoryError(
            f"A KV cache of {num_blocks} blocks needs {gib(wanted)} on {memory.device}, with weights still to load, "
            f"activations and CUDA graphs, but {memory.describe()}.",
            hint="Lower num_gpu_blocks_override, leave it out to use what is free, or free what others hold.",
        )


def _too_little(
    needs: MemoryNeeds, memory: DeviceMemory, *, num_blocks: int, utilization: float, bytes_to_load: int
) -> GPUMemoryError:
    wanted = gib(needs.blocks_per_seq * needs.bytes_per_block)
    left = gib(num_blocks * needs.bytes_per_block)
    is_cpu = memory.device.type == "cpu"
    limit = f"cache of at most {gib(MAX_CPU_CACHE_BYTES)}" if is_cpu else f"gpu_memory_utilization={utilization}"
    longest = num_blocks * needs.block_size
    remedies = [f"set max_model_len to at most {longest}"] if longest else []
    remedies += (
        ["set num_gpu_blocks_override to choose the cache's size yourself"]
        if is_cpu
        else ["raise gpu_memory_utilization", "lower max_num_batched_tokens", "free what others hold"]
    )
    remedies += ["set enforce_eager=True"] if needs.graph_bytes else []
    hint = f"{', or '.join(remedies)}."
    return GPUMemoryError(
        f"Too little memory on {memory.device}: the KV cache of one sequence of max_model_len={needs.max_model_len} "
        f"tokens needs {wanted}, {left} are left for it ({memory.describe()}; weights still to load: "
        f"{gib(bytes_to_load)}, activations: {gib(needs.activation_bytes)}, CUDA graphs: {gib(needs.graph_bytes)}, "
        f"{limit}).",
        hint=hint[0].upper() + hint[1:],
    )


def gib(num_bytes: int) -> str:
    """Return ``num_bytes`` in GiB as people read it."""
    return f"{num_bytes / 2**30:.2f} GiB"


def _available_host_bytes() -> int:
    """Return what this process can still take: the machine's memory, or its container's where that is less."""
    available = _physical_host_bytes() // 2
    meminfo = pathlib.Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        available = int(fields["MemAvailable"].split()[0]) * 1024
    left = container_bytes_left(pathlib.Path("/sys/fs/cgroup"))
    return max(available if left is None else min(available, left), 0)


def container_bytes_left(folder: pathlib.Path) -> int | None:
    """Return what the limits in a control group's ``folder`` leave this process; None where there are none.

    The system's copies of files make room when it is needed: after loading, a checkpoint's would count as ours.
    """
    limit, used, stat = (folder / f"memory.{name}" for name in ("max", "current", "stat"))
    if not (limit.exists() and used.exists() and stat.exists()) or limit.read_text().strip() == "max":
        return None
    counts = dict(line.split() for line in stat.read_text().splitlines())
    copies_of_files = int(counts.get("inactive_file", 0)) + int(counts.get("active_file", 0))
    return int(limit.read_text()) - int(used.read_text()) + copies_of_files


def _physical_host_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

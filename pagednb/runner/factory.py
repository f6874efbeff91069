"""Builds a runner: limits by device, weights, cache size, allocation.

Called by the engine thread, when it loads and when it wakes up. A failure leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import traceback

import torch

from pagednb.config import CacheGeometry, EngineConfig, SchedulerConfig
from pagednb.errors import GPUMemoryError, OptionError
from pagednb.kernels.kernel_set import select_kernels
from pagednb.kv_cache.kv_store import KVStore
from pagednb.models.kept_weights import KeptWeights
from pagednb.models.load import LoadProgress, loading_model, num_weight_bytes
from pagednb.models.offload_plan import plan_offload
from pagednb.models.resolve import ResolvedModel, torch_dtype
from pagednb.runner.batch_state import BatchState
from pagednb.runner.device_parts import DeviceParts
from pagednb.runner.host_memory import check_host_memory
from pagednb.runner.host_store import HostKVStore
from pagednb.runner.isolation import DeviceScope
from pagednb.runner.memory import (
    DeviceMemory,
    MemoryNeeds,
    MemoryReport,
    blocks_that_fit,
    check_override_fits,
)
from pagednb.runner.model_runner import ModelRunner
from pagednb.runner.step_graphs import StepGraphs
from pagednb.runner.step_shape import GraphShapes
from pagednb.runner.swap_size import choose_num_host_blocks
from pagednb.sampling.sampler import Sampler

_DEFAULT_NUM_SEQS = {"cuda": 1024, "cpu": 64}
_DEFAULT_BATCHED_TOKENS = {"cuda": 8192, "cpu": 512}
# on an H200, 8 KV heads: a prefix of 512 tokens gains 1.1 times for 32 rows, 1.4 for 64, 1.8 for 512; one of 128 tokens
# nothing for 128 rows, one of 8,192 nothing for 16. On a CPU nothing is read faster
_MIN_SHARED_PREFIX_TOKENS = {"cuda": 16_384, "cpu": None}
_MIN_SHARED_PREFIX_ROWS = 16

# a launch kernel by kernel takes about so long, and a large GPU multiplies about so fast (measured on an H200): beyond
# the tokens that keep it busy for that time a graph gains nothing, and its padding costs
_EAGER_LAUNCH_S = 0.008
_FLOPS_PER_S = 600e12


def build_runner(
    config: EngineConfig,
    resolved: ResolvedModel,
    *,
    progress: LoadProgress | None = None,
    warms_up: bool = False,
    kept: KeptWeights | None = None,
) -> ModelRunner:
    """Load the weights and allocate everything the engine keeps on its device.

    ``progress`` is called with (bytes done, bytes in all), in any thread, while weights load; with ``warms_up`` the
    runner warms up meanwhile, since no kernel or graph depends on what the weights are. Weights that were ``kept`` of
    the same model are taken in the place of the checkpoint's.

    Raises:
        OptionError: the limits contradict each other, or more weights are to be offloaded than there are.
        GPUMemoryError: too little memory, before loading where it can be known.
        WeightError: the weights do not fit the model.
    """
    scope = DeviceScope(torch.device(resolved.device))
    limits = choose_limits(config, resolved)
    out_of_memory = ""
    try:
        with scope.entered(), contextlib.ExitStack() as loading, contextlib.ExitStack() as undo:
            runner = _build(config, resolved, limits, scope, loading, progress=progress, kept=kept)
            undo.callback(runner.shutdown)
            if warms_up:
                runner.warm_up()
            loading.close()  # waits for the weights
            undo.pop_all()
            return runner
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they hold what was allocated
        with contextlib.suppress(RuntimeError):  # a device that is lost cannot
            scope.release_memory()
        if not isinstance(error, torch.OutOfMemoryError):
            raise
        out_of_memory = str(error)
    raise GPUMemoryError(
        f"Too little memory on {scope.device} while loading: {DeviceMemory.measure(scope.device).describe()}. "
        f"PyTorch says: {out_of_memory.splitlines()[0]}",
        hint="Free what others hold, choose a smaller model, or lower gpu_memory_utilization.",
    )


def choose_limits(config: EngineConfig, resolved: ResolvedModel) -> SchedulerConfig:
    """Return the limits of one step: what the config says, else defaults by device that agree with it."""
    kind = torch.device(resolved.device).type
    num_seqs, num_tokens = config.max_num_seqs, config.max_num_batched_tokens
    if num_seqs is not None and num_tokens is not None and num_tokens < num_seqs:
        raise OptionError(
            f"max_num_batched_tokens={num_tokens} is less than max_num_seqs={num_seqs}: "
            "every running sequence decodes one token a step.",
            hint="Raise the first or lower the second.",
        )
    if num_seqs is None:
        num_seqs = min(_DEFAULT_NUM_SEQS[kind], num_tokens or _DEFAULT_NUM_SEQS[kind])
    return SchedulerConfig(
        max_num_seqs=num_seqs,
        max_num_batched_tokens=num_tokens or max(_DEFAULT_BATCHED_TOKENS[kind], num_seqs),
        max_model_len=resolved.max_model_len,
        enable_prefix_caching=config.enable_prefix_caching,
        eos_token_ids=tuple(resolved.eos_token_ids),
        min_shared_prefix_tokens=_MIN_SHARED_PREFIX_TOKENS[kind] if config.enable_shared_prefix_attention else None,
        min_shared_prefix_rows=_MIN_SHARED_PREFIX_ROWS,
        preemption_mode=config.preemption_mode,
    )


def _build(
    config: EngineConfig,
    resolved: ResolvedModel,
    limits: SchedulerConfig,
    scope: DeviceScope,
    loading: contextlib.ExitStack,
    *,
    progress: LoadProgress | None,
    kept: KeptWeights | None,
) -> ModelRunner:
    device, dtype, spec = scope.device, torch_dtype(resolved), resolved.spec
    with_graphs = device.type == "cuda" and not config.enforce_eager
    needs = MemoryNeeds.of(spec, limits, block_size=config.block_size, dtype=dtype, with_graphs=with_graphs)
    num_host_blocks = choose_num_host_blocks(config, block_bytes=needs.bytes_per_block)
    _check_host_memory(config, resolved, swap_bytes=num_host_blocks * needs.bytes_per_block, kept=kept)
    before = DeviceMemory.measure(device)
    weight_bytes = _weight_bytes(config, resolved)
    bytes_to_load = weight_bytes if kept is None else min(weight_bytes, kept.num_bytes_to_copy(device))
    _num_blocks(config, needs, before, bytes_to_load=bytes_to_load)
    kernels = select_kernels(device)
    model = loading.enter_context(loading_model(resolved, config, kernels, progress=progress, kept=kept))
    num_blocks = _num_blocks(config, needs, DeviceMemory.measure(device))
    geometry = CacheGeometry(
        num_blocks=num_blocks + 1,  # one is scratch
        block_size=config.block_size,
        max_model_len=limits.max_model_len,
        num_host_blocks=num_host_blocks,
    )
    kv_store = KVStore(spec.num_layers, spec.num_kv_heads, spec.head_dim, geometry, dtype=dtype, device=device)
    sampler = Sampler(
        kernels,
        num_rows=limits.max_num_seqs,
        vocab_size=spec.vocab_size,
        eos_token_ids=limits.eos_token_ids,
        device=device,
    )
    state = BatchState(limits.max_num_seqs, geometry, kernels, device)
    host_store = HostKVStore(kv_store, geometry.num_host_blocks, device) if geometry.num_host_blocks else None
    parts = DeviceParts(model=model, kv_store=kv_store, state=state, sampler=sampler, host_store=host_store)
    return ModelRunner(
        scope,
        parts,
        geometry=geometry,
        scheduler_config=limits,
        memory=_report(parts, needs, before, num_blocks=num_blocks, weight_bytes=weight_bytes),
        graphs=_make_graphs(parts, limits, needs, model.num_bytes // dtype.itemsize) if with_graphs else None,
    )


def _check_host_memory(
    config: EngineConfig, resolved: ResolvedModel, *, swap_bytes: int, kept: KeptWeights | None
) -> None:
    """Raise GPUMemoryError when the host has no room for what is to live there beside a GPU's work, or a CPU's weights.

    Kept weights are there already: those that are offloaded stay, copies of the others go.
    """
    wishes = {f"swap_space={config.swap_space:g}": swap_bytes}
    if kept is None and resolved.device != "cpu":
        offloaded_bytes = plan_offload(resolved, config.cpu_offload_gb).host_bytes
        wishes = {f"cpu_offload_gb={config.cpu_offload_gb:g}": offloaded_bytes, **wishes}
    check_host_memory(wishes, soon_free_bytes=0 if kept is None else kept.num_copied_bytes)


def _weight_bytes(config: EngineConfig, resolved: ResolvedModel) -> int:
    """Return what the weights will take of the device: of those offloaded their buffers, on a CPU themselves too."""
    plan = plan_offload(resolved, config.cpu_offload_gb)
    host_bytes = plan.host_bytes if resolved.device == "cpu" else 0
    return num_weight_bytes(resolved) - plan.freed_bytes + host_bytes


def _report(
    parts: DeviceParts, needs: MemoryNeeds, before: DeviceMemory, *, num_blocks: int, weight_bytes: int
) -> MemoryReport:
    return MemoryReport(
        device=str(before.device),
        total_bytes=before.total_bytes,
        used_before_bytes=before.used_bytes,
        weight_bytes=weight_bytes,
        offloaded_bytes=parts.model.num_offloaded_bytes,
        activation_bytes=needs.activation_bytes,
        kv_cache_bytes=parts.kv_store.num_bytes,
        num_blocks=num_blocks,
        graph_bytes=needs.graph_bytes,
    )


def _make_graphs(parts: DeviceParts, limits: SchedulerConfig, needs: MemoryNeeds, num_parameters: int) -> StepGraphs:
    shapes = GraphShapes(
        max_num_seqs=limits.max_num_seqs,
        max_model_len=limits.max_model_len,
        max_mixed_tokens=int(_EAGER_LAUNCH_S * _FLOPS_PER_S / (2 * num_parameters)),
        with_shared_prefix=limits.min_shared_prefix_tokens is not None,
    )
    return StepGraphs(parts, shapes=shapes, arena_bytes=needs.graph_arena_bytes)


def _num_blocks(config: EngineConfig, needs: MemoryNeeds, memory: DeviceMemory, *, bytes_to_load: int = 0) -> int:
    override = config.num_gpu_blocks_override
    if override is None:
        return blocks_that_fit(needs, memory, utilization=config.gpu_memory_utilization, bytes_to_load=bytes_to_load)
    check_override_fits(needs, memory, num_blocks=override, bytes_to_load=bytes_to_load)
    return override

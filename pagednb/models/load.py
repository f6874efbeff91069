"""Loads a resolved model: checks the checkpoint against the spec, then allocates, then reads weights into place.

There is never a second copy of the weights: each stored tensor goes straight to its rows of a fused, final tensor. The
model stands as soon as its tensors are allocated, so kernels can be compiled while the weights arrive.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from pagednb.config import EngineConfig
from pagednb.errors import WeightError
from pagednb.kernels.kernel_set import KernelSet
from pagednb.layers.linear import UnquantizedMethod
from pagednb.models.checkpoint import open_checkpoint
from pagednb.models.decoder import Decoder
from pagednb.models.kept_weights import KeptWeights
from pagednb.models.offload_plan import OffloadPlan, plan_offload
from pagednb.models.offloaded_layers import OffloadedLayers
from pagednb.models.parameters import ParameterSlot, parameter_slots
from pagednb.models.resolve import ResolvedModel, torch_dtype
from pagednb.models.staging import cut, reading
from pagednb.models.stored_tensor import StoredTensor
from pagednb.models.weight_map import TensorCopy, plan_copies, tied_head

LoadProgress = Callable[[int, int], None]
"""Called with the bytes loaded and their total, in any thread. What it raises ends the load."""

_DUMMY_STD = 0.02
_COMPARED_ROWS = 4096


@contextlib.contextmanager
def loading_model(
    resolved: ResolvedModel,
    config: EngineConfig,
    kernels: KernelSet,
    *,
    progress: LoadProgress | None = None,
    kept: KeptWeights | None = None,
) -> Iterator[Decoder]:
    """Give the model on ``resolved.device`` while its weights are still being read; at the block's end they are there.

    The block may run the model to compile kernels and capture graphs: it gets no numbers that mean anything, and no
    weight may be copied. ``load_format="dummy"`` draws random weights on the device from ``config.seed`` and reads no
    file; nor does anything where the weights of the same model were ``kept``.

    Layers that ``config.cpu_offload_gb`` asks for get their weights in host memory, never by way of the device.

    Raises:
        OptionError: more is to be offloaded than there is.
        ModelLoadError: there are no weights of the format asked for, or a shard is missing.
        WeightError: a tensor is missing, surplus, misshapen or quantized, or a file is truncated. Only that a file
            ends while it is read shows as late as the end of the block.
    """
    method = UnquantizedMethod(kernels.linear)
    slots = parameter_slots(resolved.spec, method)
    report = progress or _report_nothing
    device, dtype = torch.device(resolved.device), torch_dtype(resolved)
    offload = plan_offload(resolved, config.cpu_offload_gb)
    with contextlib.ExitStack() as sources:
        if kept is not None:
            tensors, offloaded = _allocate(slots, offload, dtype, device, kept)
            away = {name: tensor for name, tensor in tensors.items() if tensor.device.type != "cpu"}
            pieces = [piece for name, tensor in away.items() for piece in cut(kept.tensors[name], tensor)]
            sources.enter_context(reading(pieces, device, report))
        elif config.load_format == "dummy":
            tensors, offloaded = _allocate(slots, offload, dtype, device)
            _draw_dummies(slots, tensors, torch.Generator(device).manual_seed(config.seed), report)
        else:
            stored = sources.enter_context(open_checkpoint(resolved.folder, config.load_format))
            plan = plan_copies(slots, resolved.architecture.weight_names, stored)
            if resolved.spec.tie_embeddings:
                _check_tied_head(resolved, stored)
            tensors, offloaded = _allocate(slots, offload, dtype, device)
            pieces = [piece for copy in plan for piece in cut(copy.stored, _destination(copy, tensors))]
            sources.enter_context(reading(pieces, device, report))
        if offloaded is not None:
            sources.enter_context(offloaded.idle())
        yield Decoder(
            resolved.spec, tensors, kernels, method, num_positions=resolved.max_model_len, offloaded=offloaded
        )


def load_model(
    resolved: ResolvedModel, config: EngineConfig, kernels: KernelSet, *, progress: LoadProgress | None = None
) -> Decoder:
    """Return the model with its weights on ``resolved.device``. See ``loading_model``."""
    with loading_model(resolved, config, kernels, progress=progress) as model:
        return model


def num_weight_bytes(resolved: ResolvedModel) -> int:
    """Return the memory that the loaded weights will take, wherever they live."""
    slots = parameter_slots(resolved.spec, UnquantizedMethod())
    return sum(math.prod(slot.shape) for slot in slots) * torch_dtype(resolved).itemsize


def _allocate(
    slots: Sequence[ParameterSlot],
    offload: OffloadPlan,
    dtype: torch.dtype,
    device: torch.device,
    kept: KeptWeights | None = None,
) -> tuple[dict[str, torch.Tensor], OffloadedLayers | None]:
    """Return the tensors of the slots by name, and the offloaded layers if there are any.

    What was ``kept`` stays where it lies if it belongs in host memory.
    """
    tensors = {} if kept is None else kept.lying_on(device)
    offloaded = None
    if offload.layers:
        memory = None if kept is None else kept.memory_of(offload.layout.first_name(offload.layers[0]))
        offloaded = OffloadedLayers(offload, device, memory=memory)
        tensors |= offloaded.stored
    for slot in slots:
        if slot.name not in tensors:
            # zeros: the warm-up that runs before the weights are there computes numbers, not whatever memory held
            tensors[slot.name] = torch.zeros(slot.shape, dtype=dtype, device=device)
    return tensors, offloaded


def _destination(copy: TensorCopy, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    rows = tensors[copy.slot_name].narrow(0, copy.start, copy.num_rows)
    return rows.t() if copy.is_transposed else rows


def _draw_dummies(
    slots: Sequence[ParameterSlot],
    tensors: Mapping[str, torch.Tensor],
    generator: torch.Generator,
    report: LoadProgress,
) -> None:
    total = sum(tensor.nbytes for tensor in tensors.values())
    done = 0
    for slot in slots:
        tensor = tensors[slot.name]
        if slot.initial == "normal":
            # the same numbers for a tensor in host memory, and sooner than the host would draw them
            drawn = tensor if tensor.device == generator.device else torch.empty_like(tensor, device=generator.device)
            tensor.copy_(drawn.normal_(0.0, _DUMMY_STD, generator=generator))
        else:
            tensor.fill_(1.0 if slot.initial == "ones" else 0.0)
        done += tensor.nbytes
        report(done, total)


def _check_tied_head(resolved: ResolvedModel, stored: Mapping[str, StoredTensor]) -> None:
    """Refuse a checkpoint whose own output head would be dropped because the config ties it to the embedding."""
    pair = tied_head(resolved.architecture.weight_names, stored)
    if pair is not None and not _is_equal(*pair):
        raise WeightError(
            f"The config ties {pair[0].name!r} to {pair[1].name!r}, but the checkpoint holds both and they differ.",
            hint="Set tie_word_embeddings to false in config.json if the model has a head of its own.",
        )


def _is_equal(one: StoredTensor, other: StoredTensor) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    for start in range(0, one.shape[0], _COMPARED_ROWS):
        stop = min(start + _COMPARED_ROWS, one.shape[0])
        rows = [torch.empty((stop - start, *one.shape[1:]), dtype=one.dtype) for _ in range(2)]
        one.read_rows(start, stop, rows[0])
        other.read_rows(start, stop, rows[1])
        if not torch.equal(*rows):
            return False
    return True


def _report_nothing(done: int, total: int) -> None:
    pass

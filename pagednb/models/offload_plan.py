"""Which decoder layers live in host memory, so that the device holds ``cpu_offload_gb`` GiB less.

Whole layers do, as few as free what was asked for once the buffers are paid through which they are streamed. They are
spread evenly, so that each is copied while the layers between it and the one before it are computed, and the last of
them is the last layer: all that a step computes before it can hide copies.
"""

from __future__ import annotations

import dataclasses
import math

from pagednb.errors import OptionError
from pagednb.layers.linear import UnquantizedMethod
from pagednb.models.layer_layout import LayerLayout
from pagednb.models.parameters import parameter_slots
from pagednb.models.resolve import ResolvedModel, torch_dtype

MAX_BUFFERS = 2
"""One holds the layer that is computed, the other receives the next. More would take memory and hide no more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OffloadPlan:
    """``layers`` live in host memory, in this order; none do where it is empty. ``layout`` is that of each."""

    layers: tuple[int, ...]
    layout: LayerLayout

    @property
    def num_buffers(self) -> int:
        """Buffers on the device, each for a whole layer."""
        return min(MAX_BUFFERS, len(self.layers))

    @property
    def host_bytes(self) -> int:
        """Host memory of the layers."""
        return len(self.layers) * self.layout.num_bytes

    @property
    def freed_bytes(self) -> int:
        """What the device holds less, the buffers paid."""
        return len(self.layers) * self.layout.weight_bytes - self.num_buffers * self.layout.num_bytes


def plan_offload(resolved: ResolvedModel, cpu_offload_gb: float) -> OffloadPlan:
    """Return the plan that frees at least ``cpu_offload_gb`` GiB of the device's memory with as few layers as can be.

    Raises:
        OptionError: all decoder layers together would free less.
    """
    num_layers = resolved.spec.num_layers
    slots = [slot for slot in parameter_slots(resolved.spec, UnquantizedMethod()) if slot.layer == 0]
    layout = LayerLayout(slots, torch_dtype(resolved))
    if not cpu_offload_gb:
        return OffloadPlan(layers=(), layout=layout)
    for count in range(MAX_BUFFERS + 1, num_layers + 1):
        plan = OffloadPlan(layers=_spread(count, num_layers), layout=layout)
        if plan.freed_bytes >= cpu_offload_gb * 2**30:
            return plan
    raise _too_much(cpu_offload_gb, OffloadPlan(layers=tuple(range(num_layers)), layout=layout))


def _spread(count: int, num_layers: int) -> tuple[int, ...]:
    """Return ``count`` of the layers at even distances; the last is among them."""
    return tuple(-(-(turn + 1) * num_layers // count) - 1 for turn in range(count))


def _too_much(cpu_offload_gb: float, most: OffloadPlan) -> OptionError:
    if most.freed_bytes <= 0:
        return OptionError(
            f"cpu_offload_gb={cpu_offload_gb:g} frees nothing: the model has {len(most.layers)} decoder layer(s), "
            f"which would be streamed through {most.num_buffers} buffer(s) of the same size.",
            hint="Leave it out.",
        )
    figure = _rounded_down(most.freed_bytes / 2**30)
    return OptionError(
        f"cpu_offload_gb={cpu_offload_gb:g} is more than this model's decoder layers can free: all {len(most.layers)} "
        f"in host memory, streamed through {most.num_buffers} buffers, free {figure} GiB.",
        hint=f"Give at most {figure}, or load a smaller model or one with a narrower dtype.",
    )


def _rounded_down(value: float) -> str:
    """Return ``value`` to three digits, and never more than it is."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.floor(value / unit) * unit:.3g}"

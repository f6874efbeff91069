"""Decoder layers whose weights live in host memory and come to the device for the time that they are computed.

They take turns in two buffers: a layer is computed from one while the next is copied into the other. Layers are built
once, over the buffers, so no address ever changes and a step can be captured. All copies of a pass begin and end
within it: nothing is prefetched for the pass to come, which may be another graph, or follow weights read anew. That
costs little, since the last such layer is the decoder's last, and keeps the bus free for the next step's inputs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import ParamSpec, TypeVar

import torch

from pagednb.models.host_arena import host_arena
from pagednb.models.offload_plan import OffloadPlan
from pagednb.models.weight_copies import Arrival, copies_for

P = ParamSpec("P")
T = TypeVar("T")


class OffloadedLayers:
    """The layers of one plan, of one model.

    Attributes:
        stored: their tensors in host memory, by full name: what loading fills.
        computed: tensors of the same names in the buffers, for layers to be built on.
    """

    def __init__(self, plan: OffloadPlan, device: torch.device, *, memory: torch.Tensor | None = None) -> None:
        """Allocate host memory and buffers; ``memory`` is that of earlier layers of the same plan, to be used again.

        Raises:
            GPUMemoryError: the host memory cannot be pinned.
        """
        num_bytes = plan.layout.num_bytes
        memory = host_arena(plan.host_bytes) if memory is None else memory
        self._layers = plan.layers
        self._sources = memory.view(len(plan.layers), num_bytes)
        self._buffers = torch.zeros((plan.num_buffers, num_bytes), dtype=torch.uint8, device=device)
        self._copies = copies_for(memory, device)
        self._arrivals: list[Arrival] = [None] * plan.num_buffers  # of the copy started last into each buffer
        self.stored: Mapping[str, torch.Tensor] = {
            name: tensor
            for turn, layer in enumerate(plan.layers)
            for name, tensor in plan.layout.views(self._sources[turn], layer)
        }
        self.computed: Mapping[str, torch.Tensor] = {
            name: tensor
            for turn, layer in enumerate(plan.layers)
            for name, tensor in plan.layout.views(self._buffers[self._slot(turn)], layer)
        }

    def begin(self) -> None:
        """Start a pass over all layers: copies run from now on, ahead of the layers."""
        for turn in range(len(self._buffers)):
            self._start(turn)

    @contextlib.contextmanager
    def idle(self) -> Iterator[None]:
        """Copy nothing for eager passes in the body, such as those that warm up while the weights are still read.

        There are dozens, and each would take as long as all its copies.
        """
        self._copies.is_idle = True
        try:
            yield
        finally:
            self._copies.is_idle = False

    def streamed(self, index: int, layer: Callable[P, T]) -> Callable[P, T]:
        """Return ``layer``, number ``index``, built on ``computed``, so that its weights are there when it is called.

        A layer that is not offloaded comes back as it is.
        """
        if index not in self._layers:
            return layer
        turn = self._layers.index(index)

        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            self.arrive(turn)
            result = layer(*args, **kwargs)
            self.leave(turn)
            return result

        return call

    def arrive(self, turn: int) -> None:
        """Wait for the weights of the layer whose turn it is, before it is computed."""
        self._copies.wait(self._arrivals[self._slot(turn)])

    def leave(self, turn: int) -> None:
        """Let the next layer of the same buffer come, once this one is computed."""
        later = turn + len(self._buffers)
        if later < len(self._layers):
            self._start(later)

    def _start(self, turn: int) -> None:
        slot = self._slot(turn)
        self._arrivals[slot] = self._copies.start(self._sources[turn], self._buffers[slot])

    def _slot(self, turn: int) -> int:
        return turn % len(self._buffers)

"""One step on the device: apply the plan's diff, then run it by a graph or kernel by kernel.

The engine core calls it through the ``Executor`` protocol, always from one thread. It knows rows and blocks, not
requests; what runs when is the scheduler's affair.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from pagednb.config import CacheGeometry, SchedulerConfig
from pagednb.errors import EngineDeadError
from pagednb.runner.device_parts import DeviceParts
from pagednb.runner.isolation import DeviceScope
from pagednb.runner.memory import MemoryReport
from pagednb.runner.pending_output import PendingOutput
from pagednb.runner.plan_diff import send_diff
from pagednb.runner.step import StepTokens, run_eagerly
from pagednb.runner.step_graphs import StepGraphs
from pagednb.runner.step_shape import StepShape
from pagednb.runner.timed_span import TimedSpan
from pagednb.scheduler.output import SchedulerOutput


class ModelRunner:
    """Executes plans on one device.

    ``geometry``, ``scheduler_config`` and ``memory`` say what it was built for; ``graphs`` are its CUDA graphs, None on
    a CPU, with ``enforce_eager`` and after the shutdown.
    """

    def __init__(
        self,
        scope: DeviceScope,
        parts: DeviceParts,
        *,
        geometry: CacheGeometry,
        scheduler_config: SchedulerConfig,
        memory: MemoryReport,
        graphs: StepGraphs | None = None,
    ) -> None:
        self.geometry = geometry
        self.scheduler_config = scheduler_config
        self.memory = memory
        self.graphs = graphs
        self._scope = scope
        self._parts: DeviceParts | None = parts
        self._last_end: torch.cuda.Event | None = None  # of the step launched last

    def warm_up(self) -> None:
        """Compile kernels and capture the usual steps, so that the first requests need not wait for them."""
        if self.graphs is not None:
            with self._scope.entered():
                self.graphs.capture_usual()

    def execute(self, plan: SchedulerOutput) -> PendingOutput:
        """Launch ``plan``; on CUDA this returns before the device has finished.

        The next plan may be executed before this one's result is read: tokens feed back on the device.

        Raises:
            EngineDeadError: the runner was shut down.
        """
        parts = self._live_parts()
        with self._scope.entered():
            spans = _apply_diff(parts, plan)
            shape = StepShape.of(plan, has_filters=parts.sampler.has_filters)
            tokens = self._run(parts, plan, shape)
            pending = PendingOutput(tokens, previous_end=self._last_end, swap_spans=spans)
            self._last_end = pending.end
            return pending

    def host_words(self, num_rows: int, num_columns: int) -> np.ndarray:
        """Return int32 host memory that the device copies from by itself: pinned on CUDA."""
        is_pinned = self._live_parts().state.device.type == "cuda"
        with self._scope.entered():  # or pinning would start a context on whichever device is current
            words: np.ndarray = torch.empty((num_rows, num_columns), dtype=torch.int32, pin_memory=is_pinned).numpy()
        return words

    def measure_memory(self) -> tuple[int, int]:
        """Return the bytes that anyone holds on the CUDA device, and those that PyTorch holds for this process."""
        device = self._scope.device
        free_bytes, total_bytes = torch.cuda.mem_get_info(device)
        return total_bytes - free_bytes, torch.cuda.memory_reserved(device)

    def _run(self, parts: DeviceParts, plan: SchedulerOutput, shape: StepShape) -> StepTokens:
        if self.graphs is None or plan.has_scoring or plan.has_pooling:
            return run_eagerly(parts, plan, shape)
        graphed = self.graphs.run(plan, shape)
        if graphed is not None:
            return graphed
        if shape.num_steps == 1:
            return run_eagerly(parts, plan, shape)
        # no graph runs all steps at once: one after another, each as the next takes its tokens from the device
        token_ids = torch.empty((shape.num_decodes, shape.num_steps), dtype=torch.int64, device=parts.state.device)
        for step in range(shape.num_steps):
            sampled = self._run(parts, plan, shape._replace(num_steps=1)).token_ids
            token_ids[:, step] = sampled[: shape.num_decodes, 0]
        return StepTokens(token_ids)

    def reset(self) -> None:
        """Forget all rows, as after a fault; what the cache holds means nothing until it is written again.

        Graphs stay: they hold addresses, not rows. Without parts there is nothing to forget.
        """
        if self._parts is not None:
            self._parts.sampler.release(np.arange(self.scheduler_config.max_num_seqs))

    @property
    def weights(self) -> Mapping[str, torch.Tensor]:
        """The model's tensors, by the names of ``parameters.py``; no step changes them."""
        return self._live_parts().model.tensors

    def adopt(self, other: ModelRunner) -> None:
        """After a shutdown, go on with what ``other`` was built with, of the same geometry; that one is left empty."""
        assert self._parts is None and other.geometry == self.geometry
        self._scope, self._parts, self.graphs, self.memory = other._scope, other._parts, other.graphs, other.memory
        other._parts = other.graphs = None

    def shutdown(self) -> None:
        """Free weights, cache and staging memory; the runner can only ``adopt`` afterwards. Safe to call twice."""
        self._scope.synchronize()
        self._last_end = None
        self.graphs = self._parts = None
        self._scope.release_memory()

    def _live_parts(self) -> DeviceParts:
        if self._parts is None:
            raise EngineDeadError("The engine was shut down.", hint="Load it again.")
        return self._parts


def _apply_diff(parts: DeviceParts, plan: SchedulerOutput) -> tuple[TimedSpan, ...]:
    """Swap out, apply releases, admissions, growth and block copies, swap in, in that order; take the step's masks.

    Returns when blocks were swapped.
    """
    spans, host_store = [], parts.host_store
    if len(plan.swap_outs):
        assert host_store is not None, "there is no host memory for blocks"
        spans.append(host_store.swap_out(plan.swap_outs))
    diff = send_diff(plan, parts.state.device, table_width=parts.state.table_width)
    if len(plan.released_rows):
        parts.sampler.release(plan.released_rows)
    for admission in plan.admissions:
        parts.sampler.admit(admission)
    if plan.token_masks is not None:
        parts.sampler.receive_masks(plan.token_masks)
    if plan.logits_calls:
        parts.sampler.receive_calls(plan.logits_calls)
    parts.state.apply(diff)
    if diff.block_copies is not None:
        parts.kv_store.copy_blocks(diff.block_copies)
    if len(plan.swap_ins):
        assert host_store is not None, "there is no host memory for blocks"
        spans.append(host_store.swap_in(plan.swap_ins))
    return tuple(spans)

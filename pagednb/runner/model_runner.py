"""One step on the device: apply the plan's diff, run the model, sample, feed the tokens back.

The engine core calls it through the ``Executor`` protocol, always from one thread. It knows rows and blocks, not
requests; what runs when is the scheduler's affair.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch

from pagednb.config import CacheGeometry, SchedulerConfig
from pagednb.errors import EngineDeadError
from pagednb.forward_batch import ForwardBatch
from pagednb.kv_cache.kv_store import KVStore
from pagednb.runner.batch_builder import build_batch
from pagednb.runner.batch_state import BatchState
from pagednb.runner.cuda_graph import DecodeGraphs
from pagednb.runner.isolation import DeviceScope
from pagednb.runner.memory import MemoryReport
from pagednb.runner.pending_output import PendingOutput
from pagednb.runner.plan_tensors import PlanTensors, send_plan
from pagednb.sampling.logprobs import LogprobTensors
from pagednb.sampling.sampler import Sampler
from pagednb.scheduler.output import SchedulerOutput

if TYPE_CHECKING:
    from pagednb.models.decoder import Decoder


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeviceParts:
    """All that a runner keeps on its device; dropping it frees the memory. Without ``graphs`` every step is eager."""

    model: Decoder
    kv_store: KVStore
    state: BatchState
    sampler: Sampler
    graphs: DecodeGraphs | None = None


class ModelRunner:
    """Executes plans on one device.

    ``geometry``, ``scheduler_config`` and ``memory`` say what it was built for.
    """

    def __init__(
        self,
        scope: DeviceScope,
        parts: DeviceParts,
        *,
        geometry: CacheGeometry,
        scheduler_config: SchedulerConfig,
        memory: MemoryReport,
    ) -> None:
        self.geometry = geometry
        self.scheduler_config = scheduler_config
        self.memory = memory
        self._scope = scope
        self._parts: DeviceParts | None = parts

    @property
    def graphs(self) -> DecodeGraphs | None:
        """The CUDA graphs of decode steps; None on a CPU and with ``enforce_eager``."""
        return self._live_parts().graphs

    def warm_up(self) -> None:
        """Compile kernels and capture the usual decode steps, so that the first requests need not wait for them."""
        graphs = self.graphs
        if graphs is not None:
            with self._scope.entered():
                graphs.capture_short_contexts()

    def execute(self, plan: SchedulerOutput) -> PendingOutput:
        """Launch ``plan``; on CUDA this returns before the device has finished.

        The next plan may be executed before this one's result is read: tokens feed back on the device.

        Raises:
            EngineDeadError: the runner was shut down.
        """
        assert plan.num_decode_steps == 1, "k-step plans need whole-step graphs"
        parts = self._live_parts()
        with self._scope.entered():
            tensors = _apply_diff(parts, plan)
            graphed = None if parts.graphs is None else parts.graphs.run(plan, tensors.rows)
            if graphed is not None:
                return PendingOutput(graphed, None)
            batch = build_batch(parts.state, plan, tensors)
            hidden = parts.model.forward(batch, parts.kv_store)
            parts.state.advance(tensors.rows, batch.seq_lens)
            token_ids, logprobs = _sample(parts, plan, tensors, batch, hidden)
            return PendingOutput(token_ids, logprobs)

    def reset(self) -> None:
        """Forget all rows, as after a fault; what the cache holds means nothing until it is written again.

        Graphs stay: they hold addresses, not rows.
        """
        self._live_parts().sampler.release(np.arange(self.scheduler_config.max_num_seqs))

    def shutdown(self) -> None:
        """Free weights, cache and staging memory; the runner cannot be used afterwards. Safe to call twice."""
        self._scope.synchronize()
        self._parts = None
        self._scope.release_memory()

    def _live_parts(self) -> DeviceParts:
        if self._parts is None:
            raise EngineDeadError("The engine was shut down.", hint="Load it again.")
        return self._parts


def _apply_diff(parts: DeviceParts, plan: SchedulerOutput) -> PlanTensors:
    """Apply releases, admissions, growth and block copies, in that order."""
    tensors = send_plan(plan, parts.state.device)
    if len(plan.released_rows):
        parts.sampler.release(plan.released_rows)
    for admission in plan.admissions:
        parts.sampler.admit(admission)
    parts.state.apply(tensors)
    if tensors.block_copies is not None:
        parts.kv_store.copy_blocks(tensors.block_copies)
    return tensors


def _sample(
    parts: DeviceParts, plan: SchedulerOutput, tensors: PlanTensors, batch: ForwardBatch, hidden: torch.Tensor
) -> tuple[torch.Tensor, LogprobTensors | None]:
    """Sample the positions that end their sequences and make the tokens the rows' next inputs."""
    if not len(plan.sampled_rows):
        return batch.input_ids[:0], None
    rows, positions = tensors.rows, batch.seq_lens.long()
    if tensors.sampled_seqs is not None:
        rows, positions = rows[tensors.sampled_seqs], positions[tensors.sampled_seqs]
    inputs = parts.state.sampling_inputs(plan.sampled_rows, rows, positions)
    token_ids, logprobs = parts.sampler.sample(hidden, parts.model.compute_logits, inputs)
    parts.state.feed_back(rows, token_ids)
    return token_ids, logprobs

"""Whole steps as CUDA graphs: from row numbers to tokens fed back, in one launch.

The model runner asks before every step and runs eagerly what no graph serves: rows with a bias, penalties or logprobs,
large prefills, shapes not captured yet. The usual shapes are captured when the model is loaded, since a capture
disturbs other threads that use CUDA; any other when it has been wanted a few times. The shape runs eagerly first, which
compiles and initialises all that capture must find ready. Captures share one memory pool.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection

import numpy as np
import torch

from pagednb.runner.capture_policy import CapturePolicy
from pagednb.runner.device_parts import DeviceParts
from pagednb.runner.step import StepTokens, run_plain
from pagednb.runner.step_buffer import StepBuffer, sampled_positions
from pagednb.runner.step_shape import GraphShapes, StepShape
from pagednb.scheduler.output import PrefillChunk, SchedulerOutput

_INVALIDATED = "previous error during capture"  # CUDA's words when a call elsewhere broke the capture


@dataclasses.dataclass(frozen=True, slots=True)
class _Graph:
    """A captured step, where its inputs are put, its output, int64 ``[num_seqs, num_steps]``, and free copies of it."""

    graph: torch.cuda.CUDAGraph
    buffer: StepBuffer
    token_ids: torch.Tensor
    host_copies: list[torch.Tensor] = dataclasses.field(default_factory=list)


class StepGraphs:
    """The graphs of one runner. Dropping them frees their memory.

    Attributes:
        num_replays: graphs launched so far.
        stopped_by: why nothing is captured any more; None while all is well. What is captured stays, the rest is eager.
    """

    def __init__(self, parts: DeviceParts, *, shapes: GraphShapes, arena_bytes: int) -> None:
        """``arena_bytes`` is taken with the first capture: every graph's intermediate tensors are to fit in it."""
        self.num_replays = 0
        self.stopped_by: str | None = None
        self._parts = parts
        self._shapes = shapes
        self._policy = CapturePolicy()
        self._graphs: dict[StepShape, _Graph] = {}
        self._failed: list[torch.cuda.CUDAGraph] = []  # torch's allocators may still ask them what they captured
        self._arena_bytes = arena_bytes
        self._pool = torch.cuda.graph_pool_handle()
        # cuBLAS keeps a workspace per stream: on a stream of its own a capture's lies in the graphs' pool and stays
        # theirs, whoever clears cuBLAS workspaces in this process
        self._capture_stream = torch.cuda.Stream(parts.state.device)

    @property
    def captured(self) -> Collection[StepShape]:
        """The shapes that have a graph."""
        return self._graphs.keys()

    def capture_usual(self) -> None:
        """Capture the shapes of nearly every step, before the engine is used and disturbs anybody."""
        ready: set[StepShape] = set()
        for shape in self._shapes.usual():
            buffer = self._filled_buffer(self._idle_plan(shape), shape)
            single = shape._replace(num_steps=1)
            if single not in ready:  # several steps launch what one does
                run_plain(self._parts, buffer, shape)
                ready.add(single)
            self._capture(shape, buffer)
            if self.stopped_by is not None:
                return

    def run(self, plan: SchedulerOutput, exact: StepShape) -> StepTokens | None:
        """Run ``plan``, whose diff is applied, by a graph, or capture one beside it; ``exact`` are its sizes.

        Returns:
            Its tokens; None when the step is left to the caller, with nothing done.
        """
        if not self._parts.sampler.are_plain(plan.sampled_rows):
            return None
        shape = self._shapes.fit(exact)
        if shape is None:
            return None
        if shape not in self._graphs and self._policy.should_capture(shape, self._graphs):
            buffer = self._filled_buffer(plan, shape)
            token_ids = run_plain(self._parts, buffer, shape)
            self._capture(shape, buffer)
            return StepTokens(token_ids, where=_where(plan, shape))
        served_by = shape if shape in self._graphs else self._policy.stand_in(shape, self._graphs)
        return None if served_by is None else self._replay(plan, served_by)

    def _replay(self, plan: SchedulerOutput, shape: StepShape) -> StepTokens:
        captured = self._graphs[shape]
        captured.buffer.fill(plan)
        captured.graph.replay()
        self.num_replays += 1
        return StepTokens(captured.token_ids, where=_where(plan, shape), host_copies=captured.host_copies)

    def _idle_plan(self, shape: StepShape) -> SchedulerOutput:
        """Return a plan that computes scratch only: no decode, and a chunk where there must be one."""
        if not shape.num_prefills:
            return SchedulerOutput(step=0)
        token_ids = np.zeros(shape.num_prefill_tokens, dtype=np.int32)
        chunk = PrefillChunk(row=self._parts.state.scratch_row, start=0, token_ids=token_ids, samples=True)
        return SchedulerOutput(step=0, prefills=(chunk,))

    def _filled_buffer(self, plan: SchedulerOutput, shape: StepShape) -> StepBuffer:
        state = self._parts.state
        buffer = StepBuffer(shape, scratch_row=state.scratch_row, device=state.device)
        buffer.fill(plan)
        return buffer

    def _capture(self, shape: StepShape, buffer: StepBuffer) -> None:
        """Record the step without running it: about 8 ms a decode step in which nothing is waited for.

        The user's threads may use CUDA meanwhile, with two exceptions: waiting for the whole device breaks the capture,
        and torch 2.11 refuses to draw CUDA random numbers while any capture is under way.
        """
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self._capture_stream):
            # "thread_local" forbids what would break a capture to this thread only
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                try:
                    self._take_arena()
                    token_ids = run_plain(self._parts, buffer, shape)
                finally:
                    graph.capture_end()
            except RuntimeError as error:
                self._give_up(graph, error)
                return
        self._graphs[shape] = _Graph(graph, buffer, token_ids)

    def _take_arena(self) -> None:
        """Let the pool's first segment be one large one, so that its size does not depend on the order of captures."""
        if not self._graphs:
            # torch warns of an empty graph, which one without its arena would be
            self._parts.state.rows.last_token[-1:].zero_()
            torch.empty(self._arena_bytes, dtype=torch.uint8, device=self._parts.state.device)

    def _give_up(self, graph: torch.cuda.CUDAGraph, error: RuntimeError) -> None:
        """Capture no more after a failure that is not ours; raise ``error`` if it is."""
        self._policy.stop()
        self._failed.append(graph)
        index, pool = self._parts.state.device.index, self._pool
        with contextlib.suppress(RuntimeError):  # raised where torch has closed the pool itself
            torch._C._cuda_endAllocateToPool(index, pool)
            torch._C._cuda_releasePool(index, pool)
        first = error.__context__ or error
        if isinstance(first, torch.OutOfMemoryError):
            self.stopped_by = "too little memory was left"
        elif _INVALIDATED in str(first):
            self.stopped_by = "another thread synchronized the whole device during a capture"
        else:
            raise error


def _where(plan: SchedulerOutput, shape: StepShape) -> np.ndarray | slice:
    """Return where the sampled rows of ``plan`` stand among those of a padded step."""
    if not shape.num_prefills:
        return slice(len(plan.decode_rows))
    return sampled_positions(plan, first_chunk=shape.num_decodes)

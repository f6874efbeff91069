"""Whole decode steps as CUDA graphs: from the rows' last tokens to their next ones, fed back, in one launch.

The model runner asks before every step and runs eagerly what no graph serves: steps with prefill chunks, rows with a
bias, penalties or logprobs, shapes not captured yet. The usual shapes are captured when the model is loaded, since a
capture disturbs other threads that use CUDA; any other when it has been wanted a few times. The shape runs eagerly
first, which compiles and initialises all that capture must find ready. Captures share one memory pool. Batches are
padded with the scratch row.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

import torch

from pagednb.kv_cache.kv_store import KVStore
from pagednb.runner.batch_builder import build_decode_batch
from pagednb.runner.batch_state import BatchState
from pagednb.sampling.sampler import Sampler
from pagednb.scheduler.output import EMPTY_ROWS, SchedulerOutput

if TYPE_CHECKING:
    from pagednb.models.decoder import Decoder

CAPTURE_AFTER = 3
"""A capture costs about as much host time as two eager steps: shapes that only pass by are not worth it."""
MAX_GRAPHS = 128
"""Bounds the driver's memory, of which every graph holds one to two MiB."""

_INVALIDATED = "previous error during capture"  # CUDA's words when a call elsewhere broke the capture
_BATCH_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_MIN_CONTEXT = 1024
# how much wider than the wanted batch a graph may be that stands in until the right one is captured
_MAX_EXCESS = 2


class GraphKey(NamedTuple):
    """The shape of a graph: rows, longest context, and whether top-k, top-p and min-p are looked at."""

    num_seqs: int
    context: int
    has_filters: bool

    def covers(self, other: GraphKey) -> bool:
        """Whether a graph of this shape can run what ``other`` stands for."""
        same_filters = self.has_filters == other.has_filters
        return same_filters and self.num_seqs >= other.num_seqs and self.context >= other.context


class GraphShapes:
    """The shapes that graphs are captured in."""

    def __init__(self, *, max_num_seqs: int, max_model_len: int) -> None:
        self.batch_sizes = (*(size for size in _BATCH_SIZES if size < max_num_seqs), max_num_seqs)
        self._max_model_len = max_model_len

    def key(self, num_seqs: int, max_seq_len: int, *, has_filters: bool) -> GraphKey:
        """Return the smallest shape that holds ``num_seqs`` rows of up to ``max_seq_len`` tokens."""
        batch_size = next(size for size in self.batch_sizes if size >= num_seqs)
        # powers of two keep the attention kernel's split size, and so its sums, as in the eager step
        context = max(_MIN_CONTEXT, 1 << (max_seq_len - 1).bit_length())
        return GraphKey(batch_size, min(context, self._max_model_len), has_filters)


class CapturePolicy:
    """Decides whether a shape that has no graph gets one, waits, or borrows a larger one. Knows no CUDA."""

    def __init__(self, *, max_graphs: int = MAX_GRAPHS) -> None:
        self._max_graphs = max_graphs
        self._num_wanted: Counter[GraphKey] = Counter()

    def should_capture(self, key: GraphKey, captured: Collection[GraphKey]) -> bool:
        """Note that ``key`` is wanted once more; return whether it is worth a graph now."""
        self._num_wanted[key] += 1
        return self._num_wanted[key] >= CAPTURE_AFTER and len(captured) < self._max_graphs

    def stand_in(self, key: GraphKey, captured: Collection[GraphKey]) -> GraphKey | None:
        """Return the smallest captured shape that covers ``key`` without much waste; None when there is none."""
        covering = [each for each in captured if each.covers(key) and each.num_seqs <= _MAX_EXCESS * key.num_seqs]
        return min(covering, default=None)

    def stop(self) -> None:
        """Capture nothing any more."""
        self._max_graphs = 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Graph:
    """A captured step and its output, overwritten by the next replay: int64 ``[num_seqs]``."""

    graph: torch.cuda.CUDAGraph
    token_ids: torch.Tensor


class DecodeGraphs:
    """The graphs of one runner. Dropping them frees their memory.

    Attributes:
        num_replays: steps run by a graph so far.
        stopped_by: why nothing is captured any more; None while all is well. What is captured stays, the rest is eager.
    """

    def __init__(
        self,
        model: Decoder,
        kv_store: KVStore,
        state: BatchState,
        sampler: Sampler,
        *,
        shapes: GraphShapes,
        arena_bytes: int,
    ) -> None:
        """``arena_bytes`` is taken with the first capture: every graph's intermediate tensors are to fit in it."""
        self.num_replays = 0
        self.stopped_by: str | None = None
        self._model = model
        self._kv_store = kv_store
        self._state = state
        self._sampler = sampler
        self._shapes = shapes
        self._policy = CapturePolicy()
        self._graphs: dict[GraphKey, _Graph] = {}
        self._failed: list[torch.cuda.CUDAGraph] = []  # torch's allocators may still ask them what they captured
        self._rows = torch.full((shapes.batch_sizes[-1],), state.scratch_row, dtype=torch.int64, device=state.device)
        self._arena_bytes = arena_bytes
        self._pool = torch.cuda.graph_pool_handle()
        # cuBLAS keeps a workspace per stream: on a stream of its own a capture's lies in the graphs' pool and stays
        # theirs, whoever clears cuBLAS workspaces in this process
        self._capture_stream = torch.cuda.Stream(state.device)

    @property
    def captured(self) -> Collection[GraphKey]:
        """The shapes that have a graph."""
        return self._graphs.keys()

    def capture_short_contexts(self) -> None:
        """Capture all batch sizes of plain rows with short contexts, before the engine is used and disturbs anybody."""
        for batch_size in reversed(self._shapes.batch_sizes):
            key = self._shapes.key(batch_size, 1, has_filters=False)
            self._set_rows(key, self._rows[:0])
            self._decode(key)
            self._capture(key)
            if self.stopped_by is not None:
                return

    def run(self, plan: SchedulerOutput, rows: torch.Tensor) -> torch.Tensor | None:
        """Run ``plan`` by a graph, or capture one beside it.

        Args:
            plan: a plan whose diff is applied.
            rows: int64 ``[num_decodes]``, its rows on the device.

        Returns:
            Its tokens, int64 ``[num_decodes]``, valid on the current stream until the next step is launched; None
            when the step is left to the caller, with nothing done.
        """
        if plan.prefills or not self._sampler.are_plain(plan.decode_rows):
            return None
        num_seqs = len(plan.decode_rows)
        key = self._shapes.key(num_seqs, plan.max_seq_len, has_filters=self._sampler.has_filters)
        if key in self._graphs:
            return self._replay(key, rows)
        if self._policy.should_capture(key, self._graphs):
            self._set_rows(key, rows)
            token_ids = self._decode(key)
            self._capture(key)
            return token_ids[:num_seqs]
        other = self._policy.stand_in(key, self._graphs)
        return None if other is None else self._replay(other, rows)

    def _replay(self, key: GraphKey, rows: torch.Tensor) -> torch.Tensor:
        self._set_rows(key, rows)
        captured = self._graphs[key]
        captured.graph.replay()
        self.num_replays += 1
        return captured.token_ids[: len(rows)]

    def _set_rows(self, key: GraphKey, rows: torch.Tensor) -> None:
        num_seqs = len(rows)
        self._rows[:num_seqs] = rows
        if num_seqs < key.num_seqs:
            self._rows[num_seqs : key.num_seqs] = self._state.scratch_row

    def _decode(self, key: GraphKey) -> torch.Tensor:
        """Run the step of the rows that are set, padding included; return int64 ``[key.num_seqs]``."""
        state, rows = self._state, self._rows[: key.num_seqs]
        batch = build_decode_batch(state, rows, max_seq_len=key.context)
        hidden = self._model.forward(batch, self._kv_store)
        state.advance(rows, batch.seq_lens)
        state.reset_scratch()
        inputs = state.sampling_inputs(EMPTY_ROWS, rows, batch.seq_lens.long())
        token_ids = self._sampler.sample_plain(hidden, self._model.compute_logits, inputs, has_filters=key.has_filters)
        state.feed_back(rows, token_ids)
        return token_ids

    def _capture(self, key: GraphKey) -> None:
        """Record the step without running it: about 8 ms in which nothing is waited for.

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
                    token_ids = self._decode(key)
                finally:
                    graph.capture_end()
            except RuntimeError as error:
                self._give_up(graph, error)
                return
        self._graphs[key] = _Graph(graph, token_ids)

    def _take_arena(self) -> None:
        """Let the pool's first segment be one large one, so that its size does not depend on the order of captures."""
        if not self._graphs:
            self._state.reset_scratch()  # torch warns of an empty graph, which one without its arena would be
            torch.empty(self._arena_bytes, dtype=torch.uint8, device=self._state.device)

    def _give_up(self, graph: torch.cuda.CUDAGraph, error: RuntimeError) -> None:
        """Capture no more after a failure that is not ours; raise ``error`` if it is."""
        self._policy.stop()
        self._failed.append(graph)
        index, pool = self._state.device.index, self._pool
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

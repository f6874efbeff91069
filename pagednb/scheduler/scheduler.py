"""Continuous batching: which tokens run in the next step.

Each step has one budget of tokens. Running decodes come first, one token each; then prompts that are half computed;
then waiting requests, by priority and arrival. A request gets the blocks of all its known tokens when it is admitted,
so a prefill once begun never stalls; decodes grow block by block, and when none is left the request that would run last
is preempted: its blocks go, its full ones stay in the prefix cache, and it is computed again later. (Swapping its
blocks to host memory would be the other branch of ``_preempt``.)

``schedule`` advances all counts at once, so it may be called again before ``update`` brings the tokens. A steady decode
step does no Python work per request. Called from the engine thread only; knows no torch, text or threads.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pagednb.config import CacheGeometry, SchedulerConfig
from pagednb.errors import ContextLengthError
from pagednb.kv_cache.block_manager import BlockManager
from pagednb.kv_cache.prefix_cache import extend_digests
from pagednb.request import FinishReason, Request, RequestUpdate
from pagednb.scheduler.output import Admission, PrefillChunk, RunnerOutput, SchedulerOutput
from pagednb.scheduler.plan_builder import PlanBuilder
from pagednb.scheduler.row_table import RowTable
from pagednb.scheduler.stats import Counters, SchedulerStats
from pagednb.scheduler.token_report import NewToken, report_tokens
from pagednb.scheduler.waiting_queue import WaitingQueue, WaitingRequest

HEADROOM = 0.01
"""Share of the blocks that admissions leave to the growth of what already runs."""


class Scheduler:
    """Plans steps over the requests it was given."""

    def __init__(self, config: SchedulerConfig, geometry: CacheGeometry) -> None:
        self._config = config
        self._geometry = geometry
        self._eos_token_ids = np.array(config.eos_token_ids, dtype=np.int64)
        self._step = 0
        self._num_arrived = 0
        self._counters = Counters()
        self._start_empty()

    def _start_empty(self) -> None:
        self._rows = RowTable(self._config.max_num_seqs, self._config.max_model_len)
        self._blocks = BlockManager(self._geometry, self._config.max_num_seqs)
        self._queue = WaitingQueue()
        self._prefilling: list[int] = []  # rows with known tokens left to compute, first to run first
        self._decoding: np.ndarray | None = None  # decodable rows, first to run first; None: must be found again
        self._released: list[int] = []  # rows given up since the last plan that carried tokens

    # -- requests come and go ------------------------------------------------------------------------------------------

    @property
    def num_waiting(self) -> int:
        """Requests without a row."""
        return len(self._queue)

    @property
    def num_running(self) -> int:
        """Requests with a row."""
        return len(self._rows)

    @property
    def has_work(self) -> bool:
        """Whether any request is unfinished."""
        return bool(self.num_waiting or self.num_running)

    def check_fits(self, request: Request) -> None:
        """Raise ContextLengthError if ``request`` could never run, however empty the cache. Reads constants only."""
        total, limit = request.max_total_tokens, self._config.max_model_len
        if total > limit:
            raise ContextLengthError(
                f"The prompt has {request.num_prompt_tokens} tokens and asks for {request.max_tokens} more; "
                f"max_model_len is {limit}.",
                hint="Shorten the prompt, lower max_tokens, or load with a larger max_model_len.",
            )
        needed, usable = self._blocks.blocks_for(total), self._blocks.pool.num_usable
        if needed > usable:
            raise ContextLengthError(
                f"The request needs {needed} KV blocks of {self._geometry.block_size} tokens; the cache has {usable}.",
                hint="Shorten the prompt, lower max_tokens, or load with more memory for the cache.",
            )

    def add(self, request: Request) -> None:
        """Queue a request.

        Raises:
            ContextLengthError: it can never fit the model's length or the cache.
        """
        self.check_fits(request)
        waiting = WaitingRequest(request, self._num_arrived)
        self._num_arrived += 1
        if request.parent_id is not None and self._is_before_fork(request.parent_id):
            self._queue.push_aside(waiting)
        else:
            self._queue.push(waiting)

    def abort(self, request_ids: Iterable[int]) -> list[RequestUpdate]:
        """End requests wherever they are; unknown ids (already finished) are none of its business."""
        ended = (self._remove(request_id) for request_id in request_ids)
        return [_final_update(entry, FinishReason.ABORT) for entry in ended if entry is not None]

    def finish_stopped(self, request_id: int) -> RequestUpdate:
        """End a request whose text met a stop string; tokens still in flight are dropped."""
        entry = self._remove(request_id)
        assert entry is not None, f"request {request_id} is not here"
        return _final_update(entry, FinishReason.STOP)

    def reset(self) -> None:
        """Forget all requests and cached prefixes, as after a fault."""
        self._start_empty()

    def reset_prefix_cache(self) -> None:
        """Forget cached prefixes; running requests keep their blocks."""
        self._blocks.pool.drop_cache()

    # -- one step ------------------------------------------------------------------------------------------------------

    def schedule(self) -> SchedulerOutput:
        """Plan the next step. An empty plan changes nothing and need not be executed."""
        plan = PlanBuilder(budget=self._config.max_num_batched_tokens)
        preempted = self._plan_decodes(plan)
        self._plan_prefills(plan)
        if not preempted:
            self._plan_admissions(plan)
        if not len(plan.decode_rows) and not plan.prefills:
            return SchedulerOutput(step=self._step)
        return self._finish_plan(plan)

    def update(self, plan: SchedulerOutput, output: RunnerOutput) -> list[RequestUpdate]:
        """Take in the tokens of an executed plan; return news of watched and of finished requests.

        Rows whose request left meanwhile are dropped: a preempted one samples the same position again later.
        """
        rows = self._rows
        # at most one step is in flight, and no row is given up and taken again within one: an owner's id suffices
        alive = np.flatnonzero(rows.request_ids[plan.sampled_rows] == plan.sampled_request_ids)
        live_rows = plan.sampled_rows[alive]
        tokens = output.token_ids[alive, 0]
        rows.token_ids[live_rows, rows.num_known[live_rows]] = tokens
        rows.num_known[live_rows] += 1
        at_eos = rows.stops_at_eos[live_rows] & np.isin(tokens, self._eos_token_ids)
        at_end = rows.num_known[live_rows] >= rows.max_total[live_rows]
        special = np.flatnonzero(at_eos | at_end | rows.is_watched[live_rows])
        if not len(special):
            return []
        columns = (live_rows[special], tokens[special], alive[special], at_eos[special])
        new_tokens = [NewToken(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]
        reports = report_tokens(new_tokens, rows, output.logprobs)
        return [report.update if report.update.finish_reason is None else self._finished(*report) for report in reports]

    def _finished(self, row: int, update: RequestUpdate) -> RequestUpdate:
        """Give up the row of a request that ended, and complete its last update."""
        entry = self._give_up_row(row)
        self._queue.release_forks(entry.request.request_id)
        return _final_update(entry, update.finish_reason, news=update)

    # -- decodes -------------------------------------------------------------------------------------------------------

    def _plan_decodes(self, plan: PlanBuilder) -> bool:
        """Run every decodable row within the budget, making room by preemption; return whether any was preempted."""
        rows = self._decodable_rows()[: plan.budget]
        if not len(rows):
            return False
        num_preemptions = self._counters.preemptions
        needs = self._blocks.write_needs(rows, self._rows.num_scheduled[rows])
        while needs.num_blocks > self._blocks.pool.num_free:
            self._preempt(self._rows.rows_in_order()[-1])
            rows = self._decodable_rows()[: plan.budget]
            needs = self._blocks.write_needs(rows, self._rows.num_scheduled[rows])
        if len(needs.growing):
            plan.add_growth(needs.growing, *self._blocks.grow(needs.growing))
        for row in needs.shared.tolist():
            self._write_privately(plan, row)
        self._rows.num_scheduled[rows] += 1
        self._rows.num_tokens[rows] += 1
        plan.add_decodes(rows)
        if (self._rows.num_tokens[rows] >= self._rows.max_total[rows]).any():
            self._decoding = None  # some have their last token under way
        return self._counters.preemptions > num_preemptions

    def _decodable_rows(self) -> np.ndarray:
        """Return rows whose next token may be sampled, int32, first to run first."""
        if self._decoding is None:
            table = self._rows
            ready = table.is_decoding & (table.num_tokens < table.max_total)
            self._decoding = np.array([row for row in table.rows_in_order() if ready[row]], dtype=np.int32)
        return self._decoding

    def _preempt(self, row: int) -> None:
        self._counters.preemptions += 1
        self._queue.push(self._give_up_row(row))

    # -- prefills ------------------------------------------------------------------------------------------------------

    def _plan_prefills(self, plan: PlanBuilder) -> None:
        for row in list(self._prefilling):
            if not plan.budget:
                return
            self._plan_chunk(plan, row)

    def _plan_admissions(self, plan: PlanBuilder) -> None:
        while plan.budget and self._rows.has_free_row:
            entry = self._queue.peek()
            if entry is None or not self._admit(plan, entry):
                return

    def _admit(self, plan: PlanBuilder, entry: WaitingRequest) -> bool:
        """Give the queue's first request a row and a first chunk, if its blocks are there."""
        shared, num_computed = self._find_computed(plan, entry)
        num_free = self._blocks.pool.num_free
        if len(self._rows):
            num_free -= int(HEADROOM * self._blocks.pool.num_usable)
        is_fork = num_computed % self._geometry.block_size != 0
        if self._blocks.num_missing(entry.num_tokens, shared) + is_fork > num_free:
            return False
        self._queue.pop()
        row = self._rows.take(entry, num_computed_tokens=num_computed)
        self._blocks.assign(row, entry.num_tokens, shared)
        self._count_admission(entry, num_computed)
        if is_fork:
            column = num_computed // self._geometry.block_size
            self._copy_block(plan, row, column)
        self._prefilling.append(row)
        plan.admissions.append(self._admission(row, entry, num_computed))
        self._plan_chunk(plan, row)
        return True

    def _find_computed(self, plan: PlanBuilder, entry: WaitingRequest) -> tuple[list[int], int]:
        """Return blocks that already hold the start of ``entry``, and how many of its tokens they hold.

        At least one token is left to compute: its logits are needed.
        """
        block_size = self._geometry.block_size
        parent = self._fork_source(entry)
        if parent is not None:
            num_computed = entry.request.num_prompt_tokens - 1
            if parent in plan.prefilled_rows:
                # copies come before the pass that writes the last block: share the full ones, compute the rest
                num_computed -= num_computed % block_size
            return self._blocks.table(parent)[: self._blocks.blocks_for(num_computed)].tolist(), num_computed
        if not self._config.enable_prefix_caching:
            return [], 0
        token_ids = entry.token_ids()
        entry.digests = extend_digests(entry.digests, token_ids, block_size=block_size, salt=entry.request.cache_salt)
        shared = self._blocks.pool.cache.match(entry.digests[: (entry.num_tokens - 1) // block_size])
        return shared, len(shared) * block_size

    def _fork_source(self, entry: WaitingRequest) -> int | None:
        """Return the row of the parent whose computed prompt a fresh fork can share."""
        parent_id = entry.request.parent_id
        if parent_id is None or len(entry.output_token_ids) or self._is_before_fork(parent_id):
            return None
        return self._rows.row_of(parent_id)

    def _is_before_fork(self, parent_id: int) -> bool:
        """Whether the parent is here and its prompt not yet computed."""
        row = self._rows.row_of(parent_id)
        if row is None:
            return parent_id in self._queue
        return bool(self._rows.num_scheduled[row] < self._rows.request(row).num_prompt_tokens)

    def _plan_chunk(self, plan: PlanBuilder, row: int) -> None:
        """Compute as many of the row's known tokens as the budget allows."""
        table = self._rows
        start, num_known = int(table.num_scheduled[row]), int(table.num_known[row])
        end = min(num_known, start + plan.budget)
        token_ids = table.token_ids[row, start:end].copy()
        plan.add_chunk(PrefillChunk(row=row, start=start, token_ids=token_ids, samples=end == num_known))
        table.num_scheduled[row] = end
        self._cache_full_blocks(row, end, first=start // self._geometry.block_size)
        if end == num_known:
            self._prefilling.remove(row)
            table.num_tokens[row] += 1
            table.is_decoding[row] = True
            self._decoding = None
            self._queue.release_forks(table.request(row).request_id)

    # -- blocks --------------------------------------------------------------------------------------------------------

    def _write_privately(self, plan: PlanBuilder, row: int) -> None:
        self._copy_block(plan, row, int(self._rows.num_scheduled[row]) // self._geometry.block_size)

    def _copy_block(self, plan: PlanBuilder, row: int, column: int) -> None:
        """Copy-on-write: give the row a block of its own at ``column``, unless it already is."""
        copy = self._blocks.make_private(row, column)
        if copy is not None:
            source, destination = copy
            plan.add_copy(row, column, source=source, destination=destination)

    def _cache_full_blocks(self, row: int, num_computed: int, *, first: int = 0) -> None:
        """Register the blocks from ``first`` on whose tokens are known and computed."""
        if not self._config.enable_prefix_caching:
            return
        entry = self._rows.entries[row]
        num_full = num_computed // self._geometry.block_size
        if len(entry.digests) < num_full:
            known = self._rows.token_ids[row, : num_full * self._geometry.block_size]
            entry.digests = extend_digests(
                entry.digests, known, block_size=self._geometry.block_size, salt=entry.request.cache_salt
            )
        self._blocks.cache_blocks(row, entry.digests[:num_full], first=first)

    def _give_up_row(self, row: int) -> WaitingRequest:
        """Take a request off its row: full computed blocks stay cached, the others are free."""
        table = self._rows
        self._cache_full_blocks(row, int(min(table.num_known[row], table.num_scheduled[row])))
        self._blocks.release(row)
        if row in self._prefilling:
            self._prefilling.remove(row)
        self._decoding = None
        self._released.append(row)
        return table.leave(row)

    def _remove(self, request_id: int) -> WaitingRequest | None:
        row = self._rows.row_of(request_id)
        if row is not None:
            entry = self._give_up_row(row)
        elif request_id in self._queue:
            entry = self._queue.remove(request_id)
        else:
            return None
        self._queue.release_forks(request_id)
        return entry

    # -- the plan and the books ----------------------------------------------------------------------------------------

    def _admission(self, row: int, entry: WaitingRequest, num_computed: int) -> Admission:
        return Admission(
            row=row,
            token_ids=entry.token_ids(),
            num_prompt_tokens=entry.request.num_prompt_tokens,
            num_computed_tokens=num_computed,
            block_ids=self._blocks.table(row).copy(),
            sampling_params=entry.request.sampling_params,
            seed=entry.request.seed,
        )

    def _finish_plan(self, plan: PlanBuilder) -> SchedulerOutput:
        table = self._rows
        chunk_rows = [chunk.row for chunk in plan.prefills]
        max_seq_len = int(max(table.num_scheduled[rows].max() for rows in (plan.decode_rows, chunk_rows) if len(rows)))
        released, self._released = self._released, []
        self._step += 1
        self._count_step()
        return plan.build(self._step, released=released, request_ids=table.request_ids, max_seq_len=max_seq_len)

    def _count_admission(self, entry: WaitingRequest, num_computed: int) -> None:
        if entry.num_cached_tokens is None:  # a preempted request counts once
            entry.num_cached_tokens = num_computed
            self._counters.prefix_tokens_hit += num_computed
            self._counters.prefix_tokens_asked += entry.num_tokens

    def _count_step(self) -> None:
        slots, wasted = self._slots()
        self._counters.steps += 1
        self._counters.slots += slots
        self._counters.wasted_slots += wasted

    def _slots(self) -> tuple[int, int]:
        """Return (slots in running requests' blocks, those among them without a token)."""
        slots = int(self._blocks.num_blocks.sum()) * self._geometry.block_size
        held = np.minimum(self._rows.num_tokens, self._blocks.num_blocks * self._geometry.block_size)
        return slots, slots - int(held.sum())

    def stats(self) -> SchedulerStats:
        """Return the figures of this moment."""
        pool, counters = self._blocks.pool, self._counters
        slots, wasted = self._slots()
        return SchedulerStats(
            num_waiting=self.num_waiting,
            num_running=self.num_running,
            num_blocks=pool.num_usable,
            num_used_blocks=pool.num_usable - pool.num_free,
            num_cached_blocks=pool.num_evictable,
            waste=wasted / slots if slots else 0.0,
            mean_waste=counters.wasted_slots / counters.slots if counters.slots else 0.0,
            num_prefix_tokens_hit=counters.prefix_tokens_hit,
            num_prefix_tokens_asked=counters.prefix_tokens_asked,
            num_preemptions=counters.preemptions,
        )

    def check_integrity(self) -> None:
        """Raise AssertionError, with numbers, unless rows, blocks and queue agree with each other."""
        table = self._rows
        self._blocks.check_integrity()
        table.check_integrity()
        self._queue.check_integrity()
        owned = np.flatnonzero(self._blocks.num_blocks)
        assert owned.tolist() == sorted(table.entries), "rows own blocks that run nothing"
        room = self._blocks.num_blocks * self._geometry.block_size
        assert (table.num_scheduled[owned] <= room[owned]).all(), "KV was scheduled without a block"
        prefilling = [row for row in table.entries if not table.is_decoding[row]]
        assert sorted(self._prefilling) == sorted(prefilling), "a prompt is forgotten half computed"
        waiting = [row for row in table.entries if table.request(row).request_id in self._queue]
        assert not waiting, f"rows {waiting} both wait and run"


def _final_update(
    entry: WaitingRequest, reason: FinishReason | None, *, news: RequestUpdate | None = None
) -> RequestUpdate:
    """Return the last update of a request, with its whole output."""
    return RequestUpdate(
        request_id=entry.request.request_id,
        new_token_ids=news.new_token_ids if news else (),
        logprobs=news.logprobs if news else (),
        finish_reason=reason,
        stop_token_id=news.stop_token_id if news else None,
        output_token_ids=entry.output_token_ids,
        num_cached_tokens=entry.num_cached_tokens or 0,
    )

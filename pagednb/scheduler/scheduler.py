"""Continuous batching: which tokens run in the next step.

Each step has one budget of tokens. Running decodes come first; then waiting requests whose stream somebody watches;
then prompts that are half computed; then the other requests that wait, by priority and arrival, with as much of their
prompts as the budget still holds. The phases lie in files of their own; here is what the engine core sees of them.

``schedule`` advances all counts at once, so it may be called again before ``update`` brings the tokens. A steady decode
step does no Python work per request. Called from the engine thread only; knows no torch, text or threads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from pagednb.config import CacheGeometry, SchedulerConfig
from pagednb.errors import ContextLengthError
from pagednb.request import FinishReason, Request, RequestUpdate
from pagednb.scheduler.books import Books
from pagednb.scheduler.constrained_rows import ConstrainedRow, ConstrainedSample, constrained_samples, unread_rows
from pagednb.scheduler.decode_phase import plan_decodes
from pagednb.scheduler.output import RunnerOutput, SampleFailure, SchedulerOutput, StepLimits
from pagednb.scheduler.plan_builder import PlanBuilder
from pagednb.scheduler.preemption import PreemptionCosts
from pagednb.scheduler.prefill_phase import make_room_for_watched, plan_admissions, plan_prefills, unpark_forks
from pagednb.scheduler.prompt_pooling import take_pooled
from pagednb.scheduler.prompt_scores import take_scores
from pagednb.scheduler.run_phase import ForcedTokens, append_forced, first_forced_tokens
from pagednb.scheduler.sequence import Sequence
from pagednb.scheduler.shared_prefix import SharedPrefixFinder
from pagednb.scheduler.snapshot import SchedulerSnapshot, take_snapshot
from pagednb.scheduler.stats import Counters, SchedulerStats
from pagednb.scheduler.token_phase import final_update, take_tokens

_MIN_PROMPT_TOKENS = 64
"""What a step under a limit computes of waiting prompts at least, so that nobody starves beside a watched stream."""


class Scheduler:
    """Plans steps over the requests it was given."""

    def __init__(self, config: SchedulerConfig, geometry: CacheGeometry) -> None:
        self._config = config
        self._geometry = geometry
        self._counters = Counters()
        self._books = Books(config, geometry, self._counters)
        self._shared_prefix = SharedPrefixFinder(config)
        self._step = 0
        self._num_arrived = 0
        self._interactive: set[int] = set()  # requests somebody watches

    @property
    def num_waiting(self) -> int:
        """Requests without a row."""
        return len(self._books.waiting)

    @property
    def num_running(self) -> int:
        """Requests with a row."""
        return self._books.rows.num_running

    @property
    def has_work(self) -> bool:
        """Whether any request is unfinished."""
        return self.num_waiting > 0 or self.num_running > 0

    @property
    def has_interactive(self) -> bool:
        """Whether a request whose stream somebody watches waits or runs."""
        return bool(self._interactive)

    # requests come and go

    def add(self, request: Request) -> None:
        """Queue a request.

        Raises:
            ContextLengthError: it can never fit the model's length or the cache.
        """
        assert not self._books.has(request.request_id), f"request {request.request_id} is here already"
        self.check_fits(request)
        sequence = Sequence(request, self._num_arrived)
        if request.grammar is not None and self._config.append_forced_tokens:
            sequence.output_token_ids = first_forced_tokens(request, self._config.eos_token_ids)
        self._num_arrived += 1
        self._books.enqueue(sequence)
        if request.stream:
            self._interactive.add(request.request_id)

    def check_fits(self, request: Request) -> None:
        """Raise ContextLengthError if ``request`` could never run, however empty the cache. Reads constants only."""
        wish = f"The prompt has {request.num_prompt_tokens} tokens and asks for {request.max_tokens} more"
        if request.max_total_tokens > self._config.max_model_len:
            raise ContextLengthError(
                f"{wish}; max_model_len is {self._config.max_model_len}.",
                hint="Shorten the prompt, lower max_tokens, or load the engine with a larger max_model_len.",
            )
        needed, usable = self._books.blocks.blocks_for(request.max_total_tokens), self._geometry.num_blocks - 1
        if needed > usable:
            raise ContextLengthError(
                f"{wish}: {needed} KV blocks of {self._geometry.block_size} tokens; the whole cache has {usable}.",
                hint="Shorten the prompt, lower max_tokens, or load the engine with more memory for the cache.",
            )

    def abort(self, request_ids: Iterable[int]) -> list[RequestUpdate]:
        """End requests wherever they are and return their output so far; ids that are not here are skipped."""
        removed = self._books.remove(request_ids)
        self._forget_interactive(sequence.request.request_id for sequence in removed)
        return [final_update(sequence, FinishReason.ABORT) for sequence in removed]

    def finish_stopped(self, request_id: int) -> RequestUpdate:
        """End a request whose text met a stop string; tokens that are still in flight are dropped."""
        (sequence,) = self._books.remove([request_id])
        self._forget_interactive([request_id])
        return final_update(sequence, FinishReason.STOP)

    def reset(self) -> None:
        """Forget all requests and cached prefixes, as after a fault."""
        costs = self._books.costs
        self._books = Books(self._config, self._geometry, self._counters)
        self._books.costs = costs
        self._interactive.clear()

    def reset_prefix_cache(self) -> None:
        """Forget cached prefixes; running requests keep their blocks."""
        self._books.blocks.reset_prefix_cache()
        self._books.scores.clear()

    def set_preemption_costs(self, costs: PreemptionCosts) -> None:
        """From now on decide by ``costs`` whether a preempted request's blocks go to host memory."""
        self._books.costs = costs

    # one step

    def schedule(self, limits: StepLimits = StepLimits()) -> SchedulerOutput:  # noqa: B008  (frozen)
        """Plan the next step. A plan that is not empty must be executed; an empty one carries nothing.

        Several decode steps are planned only where nothing needs the host between them.
        """
        self._step += 1
        self._books.blocks.begin_step()
        make_room_for_watched(self._books)
        plan = PlanBuilder(self._step, self._token_budget(limits))
        plan_decodes(self._books, plan, max_decode_steps=limits.max_decode_steps)
        plan.share_prefix(self._shared_prefix.find(self._books, plan.decode_rows))
        plan_prefills(self._books, plan, only_watched=True)
        plan_admissions(self._books, plan, only_watched=True)
        plan_prefills(self._books, plan)
        plan_admissions(self._books, plan)
        unpark_forks(self._books, plan)
        if plan.is_empty:
            return plan.build()
        self._counters.slot_use = self._counters.slot_use.plus(self._books.slot_use())
        return plan.build(released_rows=self._books.take_released_rows(), swap_outs=self._books.swap_space.take_outs())

    def constrained_samples(self, plan: SchedulerOutput) -> list[ConstrainedSample]:
        """Return the rows of ``plan``, just made, that go by their output: they need masks, or the caller's code."""
        return constrained_samples(self._books.rows, plan)

    def unread_rows(self) -> list[ConstrainedRow]:
        """Return the rows that have sampled a token since the last call, if grammars may force what follows it."""
        return unread_rows(self._books.rows) if self._config.append_forced_tokens else []

    def append_forced(self, forced: Iterable[ForcedTokens]) -> list[RequestUpdate]:
        """Append what grammars force on rows that ``unread_rows`` just named; return news of watched requests.

        What may end a request is sampled all the same.
        """
        return append_forced(self._books, forced)

    def update(self, plan: SchedulerOutput, output: RunnerOutput) -> list[RequestUpdate]:
        """Take in the tokens of an executed plan; return news of watched and of finished requests.

        Plans are updated in the order in which they were made. Tokens of a request that has left its row since the
        plan was made are dropped; a preempted one samples that position again.
        """
        if output.prompt_logprobs is not None:
            take_scores(self._books, plan, output)
        if output.pooled is not None:
            take_pooled(self._books, plan, output.pooled)
        failed = self._end_failed(plan, output.failures)
        updates = failed + take_tokens(self._books, plan, output)
        self._forget_interactive(update.request_id for update in updates if update.finish_reason is not None)
        return updates

    def _end_failed(self, plan: SchedulerOutput, failures: Iterable[SampleFailure]) -> list[RequestUpdate]:
        """End the requests whose own code failed in ``plan``."""
        updates = []
        for position, error in failures:
            request_id = int(plan.sampled_request_ids[position])
            updates += [dataclasses.replace(update, error=error) for update in self.abort([request_id])]
        return updates

    def _token_budget(self, limits: StepLimits) -> int:
        """Return how many tokens the step may have: what ``limits`` say, but always room for some prompt tokens."""
        most = self._config.max_num_batched_tokens
        if limits.max_num_tokens is None:
            return most
        return min(most, max(limits.max_num_tokens, len(self._books.rows.decode_rows) + _MIN_PROMPT_TOKENS))

    def _forget_interactive(self, request_ids: Iterable[int]) -> None:
        if self._interactive:
            self._interactive.difference_update(request_ids)

    # figures and proofs

    def stats(self) -> SchedulerStats:
        """Return the figures of this moment."""
        pool, swap_space, counters = self._books.blocks.pool, self._books.swap_space, self._counters
        return SchedulerStats(
            num_waiting=self.num_waiting,
            num_running=self.num_running,
            num_blocks=pool.num_blocks - 1,
            num_used_blocks=pool.num_used,
            num_cached_blocks=pool.num_cached,
            waste=self._books.slot_use().waste,
            mean_waste=counters.slot_use.waste,
            mean_memory_waste=counters.slot_use.memory_waste,
            num_prefix_tokens_hit=counters.num_prefix_tokens_hit,
            num_prefix_tokens_asked=counters.num_prefix_tokens_asked,
            num_preemptions=counters.num_preemptions,
            num_swaps=counters.num_swaps,
            num_swapped=swap_space.num_requests,
            num_host_blocks=swap_space.pool.num_blocks,
            num_used_host_blocks=swap_space.pool.num_used,
            num_blocks_swapped_out=counters.num_blocks_swapped_out,
            num_blocks_swapped_in=counters.num_blocks_swapped_in,
            preemption_costs=self._books.costs,
            lost_share=self._books.lost_tokens.share,
        )

    def snapshot(self) -> SchedulerSnapshot:
        """Return what each block and each request is doing at this moment."""
        return take_snapshot(self._books, self.stats())

    def check_integrity(self) -> None:
        """Raise AssertionError, with numbers, unless rows, blocks, prefix cache and queue agree with each other."""
        self._books.check_integrity()

"""Requests that come in during one step: decided one by one, entered into the books together.

While the prefill phase decides, a newcomer holds its row number and the blocks that it shares. Its own blocks, its
table and its row's fields follow for all newcomers at once: a call of NumPy costs as much for one of them as for fifty.
"""

from __future__ import annotations

from pagednb.kv_cache.block_manager import NewRow
from pagednb.scheduler.books import Books
from pagednb.scheduler.newcomer import Newcomer
from pagednb.scheduler.output import Admission, PrefillChunk
from pagednb.scheduler.plan_builder import PlanBuilder
from pagednb.scheduler.prompt_pooling import pooling_of
from pagednb.scheduler.prompt_scores import scoring_of
from pagednb.scheduler.sequence import Sequence
from pagednb.scheduler.start import Start


class Arrivals:
    """Newcomers of the plan in the making. Whoever adds to it calls ``enter`` before anyone else reads the books."""

    def __init__(self, books: Books, plan: PlanBuilder) -> None:
        self._books = books
        self._plan = plan
        self._arrivals: list[tuple[Newcomer, Start]] = []
        self._next_names: set[bytes] = set()  # of the first block that each newcomer computes

    def would_share(self, sequence: Sequence, start: Start) -> bool:
        """Whether ``sequence`` would find more of its blocks if the newcomers so far were entered."""
        num_found = len(start.shared_block_ids)
        return num_found < len(sequence.block_digests) and sequence.block_digests[num_found] in self._next_names

    def add(self, sequence: Sequence, start: Start) -> None:
        """Take a row and as many tokens as the plan has left for ``sequence``."""
        books, plan, token_ids = self._books, self._plan, sequence.token_ids
        stop = min(len(token_ids), start.num_computed + plan.num_tokens_left)
        row, samples = books.rows.reserve_row(), stop == len(token_ids)
        books.blocks.pool.acquire(start.shared_block_ids)  # at once, so that nobody evicts them
        num_moved = len(start.host_block_ids)
        num_found = len(start.shared_block_ids) * books.blocks.block_size if num_moved else start.num_computed
        books.take_back(sequence, num_found=num_found, num_moved=num_moved)
        chunk = PrefillChunk(
            row=row,
            start=start.num_computed,
            token_ids=token_ids[start.num_computed : stop],
            samples=samples,
            scoring=scoring_of(sequence, start.num_computed, stop) if sequence.wants_scores else None,
            pooling=None
            if sequence.request.pooling is None
            else pooling_of(sequence.request, start.num_computed, stop),
        )
        plan.prefill(chunk, sequence.request.request_id)
        self._arrivals.append((Newcomer(row, sequence, len(token_ids), stop, samples), start))
        self._next_names.update(sequence.block_digests[len(start.shared_block_ids) :][:1])
        if sequence.num_cached_tokens is None:
            sequence.num_cached_tokens = start.num_computed
            if sequence.request.grammar is not None:  # forced tokens that come with the prompt may be cached too
                sequence.num_cached_tokens = min(start.num_computed, sequence.request.num_prompt_tokens)
            books.counters.num_prefix_tokens_asked += len(token_ids)
            books.counters.num_prefix_tokens_hit += start.num_computed

    def enter(self) -> None:
        """Enter all newcomers into the books and the plan."""
        if not self._arrivals:
            return
        books = self._books
        books.rows.take([newcomer for newcomer, _ in self._arrivals], step=self._plan.step)
        new_rows = [_new_row(newcomer, start) for newcomer, start in self._arrivals]
        tables = books.blocks.open_rows(new_rows)
        for (newcomer, start), table in zip(self._arrivals, tables, strict=True):
            num_shared, num_moved = len(start.shared_block_ids), len(start.host_block_ids)
            if start.copied_block_id is not None:
                self._plan.copy_block(start.copied_block_id, int(table[num_shared]))
            if num_moved:
                self._plan.swap_in(table[num_shared : num_shared + num_moved], start.host_block_ids)
            request = newcomer.sequence.request
            self._plan.admit(
                Admission(
                    row=newcomer.row,
                    token_ids=newcomer.sequence.token_ids,
                    num_prompt_tokens=request.num_prompt_tokens,
                    num_computed_tokens=start.num_computed,
                    max_total_tokens=request.max_total_tokens,
                    block_ids=table,
                    sampling_params=request.sampling_params,
                    seed=request.seed,
                )
            )
        self._arrivals.clear()
        self._next_names.clear()


def _new_row(newcomer: Newcomer, start: Start) -> NewRow:
    sequence = newcomer.sequence
    return NewRow(
        newcomer.row,
        start.shared_block_ids,
        newcomer.num_computed,
        sequence.block_digests,
        sequence.token_ids,
        sequence.request.cache_salt,
    )

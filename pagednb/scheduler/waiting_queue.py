"""Requests without a row, in order of service. Forks stay aside until the prompt that they share is computed."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from pagednb.scheduler.sequence import Sequence

_MAX_LOOKED_AT = 1_000


class WaitingQueue:
    """A heap by ``Sequence.order``: whoever was preempted comes before all later arrivals of its class."""

    def __init__(self) -> None:
        self._sequences: dict[int, Sequence] = {}  # by request id, parked ones included
        self._heap: list[tuple[tuple[int, int, int], int]] = []  # (order, request id); removed requests linger
        self._parked: dict[int, list[int]] = {}  # parent's request id -> requests that wait for it

    def __len__(self) -> int:
        return len(self._sequences)

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._sequences

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._sequences.values())

    def push(self, sequence: Sequence) -> None:
        """Queue a sequence at its place in the order."""
        request_id = sequence.request.request_id
        self._sequences[request_id] = sequence
        heapq.heappush(self._heap, (sequence.order, request_id))

    def park(self, sequence: Sequence, parent_id: int) -> None:
        """Keep a fork aside until ``unpark(parent_id)``."""
        self._sequences[sequence.request.request_id] = sequence
        self._parked.setdefault(parent_id, []).append(sequence.request.request_id)

    def unpark(self, parent_id: int) -> None:
        """Queue the forks that wait for a parent: its prompt is computed, or it is gone."""
        for request_id in self._parked.pop(parent_id, ()):
            if request_id in self._sequences:
                self.push(self._sequences[request_id])

    def peek(self) -> Sequence | None:
        """Return the sequence to serve next, None when nobody is ready."""
        while self._heap:
            sequence = self._sequences.get(self._heap[0][1])
            if sequence is not None:
                return sequence
            heapq.heappop(self._heap)
        return None

    def pop(self) -> Sequence:
        """Take the sequence that ``peek`` returned."""
        _, request_id = heapq.heappop(self._heap)
        return self._sequences.pop(request_id)

    def front(self, count: int) -> list[Sequence]:
        """Return ``count`` sequences at most, those to serve next first, forks that are aside last.

        With thousands in the queue only the first is certain: the top of the heap is looked at, not all of it.
        """
        queued = [entry for entry in self._heap[:_MAX_LOOKED_AT] if entry[1] in self._sequences]
        front = [self._sequences[request_id] for _, request_id in heapq.nsmallest(count, queued)]
        parked = (request_id for request_ids in self._parked.values() for request_id in request_ids)
        aside = (self._sequences[request_id] for request_id in parked if request_id in self._sequences)
        return front + list(itertools.islice(aside, count - len(front)))

    def remove(self, request_id: int) -> Sequence:
        """Take one sequence out of turn."""
        return self._sequences.pop(request_id)

    def check_integrity(self) -> None:
        """Raise AssertionError unless every sequence is queued or parked, once."""
        places = [request_id for _, request_id in self._heap] + [i for ids in self._parked.values() for i in ids]
        live = sorted(request_id for request_id in places if request_id in self._sequences)
        assert live == sorted(self._sequences), f"{len(self._sequences)} waiting, {len(live)} places in the queue"

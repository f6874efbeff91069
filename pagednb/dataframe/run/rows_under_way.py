"""The rows whose requests are with the engine: which outputs each still waits for.

A row's first request goes alone; the others follow when it is done, so that they find its keys and values in the prefix
cache. The row job hands rows in and takes answers out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pagednb.dataframe.results.figures import RunFigures
from pagednb.dataframe.run.task import Answer, RowFailure, RowRequests
from pagednb.errors import ContextLengthError, PromptError

if TYPE_CHECKING:
    from pagednb.engine.call import Call
    from pagednb.outputs import RequestOutput

Key = tuple[int, int]
"""Of a request in the engine call: the row's position in the frame, and which of the row's requests it is."""

Failure = ContextLengthError | PromptError | RowFailure
_Ask = tuple[int, RowRequests, int]
"""A row's position, what it asks, and which of its requests is meant."""


@dataclasses.dataclass(slots=True)
class _RowUnderWay:
    """``outputs`` stand in the order of the requests; ``num_left`` of those that were sent are not there yet."""

    requests: RowRequests
    outputs: list[RequestOutput | None]
    num_left: int = 1


class RowsUnderWay:
    """Rows of one run; counts what is sent and what came back."""

    def __init__(self, call: Call[Key], figures: RunFigures) -> None:
        self._call = call
        self._figures = figures
        self._rows: dict[int, _RowUnderWay] = {}

    @property
    def num_requests(self) -> int:
        """Requests that the engine holds."""
        return self._call.num_pending

    def ask(self, rows: Sequence[tuple[int, RowRequests]]) -> list[tuple[int, Failure]]:
        """Send the first request of each row; return the rows that can never run, each with the reason."""
        refused = dict(self._send([(position, requests, 0) for position, requests in rows]))
        for position, requests in rows:
            if position not in refused:
                self._rows[position] = _RowUnderWay(requests, [None] * len(requests.asks))
                self._figures.computed += 1
        return list(refused.items())

    def poll(self, timeout_s: float) -> list[tuple[int, Answer | Failure]]:
        """Return what became of rows: their answers, or why they have none. Waits up to ``timeout_s`` for the first."""
        settled: list[tuple[int, Answer | Failure]] = []
        rest: list[_Ask] = []
        for (position, index), output in self._call.poll(timeout_s):
            row = self._rows.get(position)
            if row is None:
                continue  # it failed while others of its requests were under way
            row.outputs[index] = output
            row.num_left -= 1
            if output.outputs[0].finish_reason == "abort":
                del self._rows[position]
                reason = output.outputs[0].stop_reason or "The request was aborted."
                settled.append((position, RowFailure(str(reason))))
            elif row.num_left == 0:
                left = [(position, row.requests, index) for index, output in enumerate(row.outputs) if output is None]
                row.num_left = len(left)
                rest += left
                if not left:
                    settled.append((position, self._finish(position)))
        refused = dict(self._send(rest))
        for position in refused:
            del self._rows[position]
        return settled + list(refused.items())

    def _finish(self, position: int) -> Answer | Failure:
        row = self._rows.pop(position)
        outputs: list[Any] = row.outputs
        self._figures.count_finished(sum(len(token_ids) for token_ids, _ in row.requests.asks), outputs)
        try:
            return row.requests.condense(outputs)
        except RowFailure as failure:
            return failure

    def _send(self, asks: Sequence[_Ask]) -> list[tuple[int, Failure]]:
        """Send requests together; return the rows of those that can never run."""
        batch = [((position, index), *requests.asks[index]) for position, requests, index in asks]
        refused = dict(self._call.offer(batch)) if batch else {}
        self._figures.submitted_tokens += sum(len(token_ids) for key, token_ids, _ in batch if key not in refused)
        return [(position, reason) for (position, _), reason in refused.items()]

"""The rows whose requests are with the engine: which outputs each still waits for.

A row's first request goes alone; the others follow when it is done, so that they find its keys and values in the prefix
cache. The row job hands rows in and takes answers out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pagednb.dataframe.report import RunFigures
from pagednb.dataframe.row_task import Answer, RowFailure, RowRequests
from pagednb.errors import ContextLengthError, PromptError

if TYPE_CHECKING:
    from pagednb.engine.call import Call
    from pagednb.outputs import RequestOutput

Key = tuple[int, int]
"""Of a request in the engine call: the row's position in the frame, and which of the row's requests it is."""

Failure = ContextLengthError | PromptError | RowFailure


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

    def ask(self, position: int, requests: RowRequests) -> None:
        """Send a row's first request.

        Raises:
            ContextLengthError, PromptError: it can never run.
        """
        self._send(position, requests, 0)
        self._rows[position] = _RowUnderWay(requests, [None] * len(requests.asks))
        self._figures.computed += 1

    def poll(self, timeout_s: float) -> Iterator[tuple[int, Answer | Failure]]:
        """Yield what became of rows: their answers, or why they have none. Waits up to ``timeout_s`` for the first."""
        for (position, index), output in self._call.poll(timeout_s):
            row = self._rows.get(position)
            if row is None:
                continue  # it failed while others of its requests were under way
            row.outputs[index] = output
            row.num_left -= 1
            if output.outputs[0].finish_reason == "abort":
                del self._rows[position]
                yield position, RowFailure("The request was aborted.")
            elif row.num_left == 0:
                yield from self._go_on(position, row)

    def _go_on(self, position: int, row: _RowUnderWay) -> Iterator[tuple[int, Answer | Failure]]:
        """Ask for the rest after the first request, or finish the row."""
        rest = [index for index, output in enumerate(row.outputs) if output is None]
        try:
            for index in rest:
                self._send(position, row.requests, index)
        except (ContextLengthError, PromptError) as failure:
            del self._rows[position]
            yield position, failure
            return
        row.num_left = len(rest)
        if not rest:
            del self._rows[position]
            outputs: list[Any] = row.outputs
            self._figures.count_finished(outputs)
            yield position, _condensed(row.requests, outputs)

    def _send(self, position: int, requests: RowRequests, index: int) -> None:
        token_ids, params = requests.asks[index]
        self._call.submit((position, index), token_ids, params)
        self._figures.submitted_tokens += len(token_ids)


def _condensed(requests: RowRequests, outputs: Answer) -> Answer | RowFailure:
    try:
        return requests.condense(outputs)
    except RowFailure as failure:
        return failure

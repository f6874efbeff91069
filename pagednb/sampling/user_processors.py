"""Logits processors that callers wrote, run on the rows of those who asked, between biases and penalties.

They run on the engine thread: what one of them raises ends its own request and nothing else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pagednb.scheduler.output import LogitsCall, SampleFailure

_NUM_WITH_PROMPT = 3  # parameters of a processor that is given the prompt too


class UserProcessors:
    """The calls of the step that runs, and what went wrong in them."""

    def __init__(self) -> None:
        self._calls: Sequence[LogitsCall] = ()
        self._failures: list[SampleFailure] = []

    def receive(self, calls: Sequence[LogitsCall]) -> None:
        """Take a plan's calls; ``take_failures`` forgets them."""
        self._calls = calls

    def apply(self, logits: torch.Tensor, first_position: int) -> None:
        """Change rows of fp32 ``logits`` ``[num_rows, vocab]`` in place, which are those from ``first_position`` on."""
        for call in self._calls:
            index = call.position - first_position
            if not 0 <= index < len(logits):
                continue
            try:
                logits[index] = _processed(call, logits[index].clone())
            except Exception as error:  # noqa: BLE001  (the caller's own code: its request ends, the others go on)
                sentence = f"A logits processor raised {type(error).__name__}: {error}"
                self._failures.append(SampleFailure(call.position, sentence))

    def take_failures(self) -> tuple[SampleFailure, ...]:
        """Return the failures of the step, whose calls are over."""
        failures, self._calls, self._failures = tuple(self._failures), (), []
        return failures


def _processed(call: LogitsCall, row: torch.Tensor) -> torch.Tensor:
    output, prompt = call.output_token_ids.tolist(), call.prompt_token_ids
    for processor in call.processors:
        takes_prompt = _num_parameters(processor) == _NUM_WITH_PROMPT
        changed = processor(prompt.tolist(), output, row) if takes_prompt else processor(output, row)
        if not isinstance(changed, torch.Tensor) or changed.shape != row.shape:
            what = tuple(changed.shape) if isinstance(changed, torch.Tensor) else type(changed).__name__
            raise TypeError(f"it must return a tensor of shape {tuple(row.shape)}, not {what}")
        row = changed
    return row


def _num_parameters(processor: Callable[..., Any]) -> int:
    try:
        return len(inspect.signature(processor).parameters)
    except (TypeError, ValueError):  # not every callable that is not Python's has a signature
        return 0

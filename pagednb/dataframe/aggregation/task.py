"""One call of ``agg``: a text, and a prompt that keeps the budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from pagednb.dataframe.run.task import Answer, EncodedPrompt, RowFailure, RowRequests
from pagednb.dataframe.run.written_task import WrittenTask


@dataclasses.dataclass(frozen=True)
class AggTask(WrittenTask):
    """One text a call, whose prompt has at most ``token_budget`` tokens."""

    token_budget: int
    name: ClassVar[str] = "agg"

    def requests(self, prompts: Sequence[EncodedPrompt]) -> RowRequests:
        """Return one request; prompts are packed by upper bounds, which this checks."""
        [prompt] = prompts
        if len(prompt.token_ids) > self.token_budget:
            raise RowFailure(f"A prompt has {len(prompt.token_ids)} tokens, more than {self.token_budget}.")
        return RowRequests([(prompt.token_ids, self.params)])

    def value(self, answer: Answer) -> str:
        """Return the text."""
        return answer[0].text

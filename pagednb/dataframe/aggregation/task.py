"""One call of ``agg``: a text, and a prompt that keeps the budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pagednb.dataframe.run.task import ONE_QUESTION, Answer, EncodedPrompt, RowFailure, RowRequests, params_fingerprint
from pagednb.sampling_params import SamplingParams


@dataclasses.dataclass(frozen=True)
class AggTask:
    """One text a call, whose prompt has at most ``token_budget`` tokens."""

    params: SamplingParams
    token_budget: int
    name: str = "agg"
    questions: Sequence[str] = ONE_QUESTION

    @property
    def is_deterministic(self) -> bool:
        """Whether the parameters leave nothing to chance."""
        return self.params.is_deterministic

    @property
    def fingerprint(self) -> str:
        """The parameters: a budget decides prompts, not what is answered to them."""
        return params_fingerprint(self.params)

    @property
    def max_answer_tokens(self) -> int | None:
        """``max_tokens``."""
        return self.params.max_tokens

    def requests(self, prompts: Sequence[EncodedPrompt]) -> RowRequests:
        """Return one request; prompts are packed by upper bounds, which this checks."""
        [prompt] = prompts
        if len(prompt.token_ids) > self.token_budget:
            raise RowFailure(f"A prompt has {len(prompt.token_ids)} tokens, more than {self.token_budget}.")
        return RowRequests([(prompt.token_ids, self.params)])

    def value(self, answer: Answer) -> str:
        """Return the text."""
        return answer[0].text

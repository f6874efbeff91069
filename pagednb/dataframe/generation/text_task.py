"""The task of ``generate``: one text a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pagednb.dataframe.generation.whole_answers import require_whole
from pagednb.dataframe.run.task import ONE_QUESTION, Answer, EncodedPrompt, RowRequests, params_fingerprint
from pagednb.sampling_params import SamplingParams


@dataclasses.dataclass(frozen=True)
class GenerateTask:
    """One text a row."""

    params: SamplingParams
    name: str = "generate"
    questions: Sequence[str] = ONE_QUESTION

    @property
    def is_deterministic(self) -> bool:
        """Whether the parameters leave nothing to chance."""
        return self.params.is_deterministic

    @property
    def fingerprint(self) -> str:
        """The parameters."""
        return params_fingerprint(self.params)

    @property
    def max_answer_tokens(self) -> int | None:
        """``max_tokens``."""
        return self.params.max_tokens

    def requests(self, prompts: Sequence[EncodedPrompt]) -> RowRequests:
        """Return one request a question."""
        return RowRequests([(prompt.token_ids, self.params) for prompt in prompts])

    def value(self, answer: Answer) -> str:
        """Return the text.

        Raises:
            RowFailure: a constraint held it, and it was cut.
        """
        require_whole(answer[0].outputs[0], self.params)
        return answer[0].text

"""What tasks have in common whose answers the model writes: all depends on the sampling parameters."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import ClassVar

from pagednb.dataframe.run.task import ONE_QUESTION, EncodedPrompt, RowRequests
from pagednb.sampling_params import SamplingParams


@dataclasses.dataclass(frozen=True)
class WrittenTask:
    """A ``RowTask`` but for its name and for what an answer means."""

    params: SamplingParams
    pooling: ClassVar[None] = None
    questions: ClassVar[Sequence[str]] = ONE_QUESTION

    @property
    def is_deterministic(self) -> bool:
        """Whether the parameters leave nothing to chance."""
        return self.params.is_deterministic

    @property
    def fingerprint(self) -> str:
        """The parameters, which hold a schema if there is one."""
        return json.dumps(dataclasses.asdict(self.params), sort_keys=True, default=str)

    @property
    def max_answer_tokens(self) -> int | None:
        """``max_tokens``."""
        return self.params.max_tokens

    def requests(self, prompts: Sequence[EncodedPrompt]) -> RowRequests:
        """Return the one request of a row."""
        return RowRequests([(prompt.token_ids, self.params) for prompt in prompts])

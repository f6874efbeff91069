"""The task of ``embed``: one vector a row."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pagednb.dataframe.kept.stored_answer import embedding_output
from pagednb.dataframe.run.task import ONE_QUESTION, Answer, EncodedPrompt, RowRequests
from pagednb.engine.embedding import ONE_TOKEN
from pagednb.request import Pooling
from pagednb.sampling_params import SamplingParams

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class EmbedTask:
    """Hidden states of each row's prompt, pooled, as long as the model made them."""

    pooling: Pooling
    name: ClassVar[str] = "embed"
    params: ClassVar[SamplingParams] = ONE_TOKEN
    is_deterministic: ClassVar[bool] = True
    questions: ClassVar[Sequence[str]] = ONE_QUESTION
    max_answer_tokens: ClassVar[int] = 1

    @property
    def fingerprint(self) -> str:
        """The pooling."""
        return json.dumps({"pooling": self.pooling})

    def requests(self, prompts: Sequence[EncodedPrompt]) -> RowRequests:
        """Return the one request of a row."""
        return RowRequests([(prompt.token_ids, ONE_TOKEN) for prompt in prompts], _without_text)

    def value(self, answer: Answer) -> np.ndarray:
        """Return the vector, float32 ``[hidden_size]``."""
        vector = answer[0].embedding
        assert vector is not None
        return vector


def _without_text(outputs: Answer) -> Answer:
    """Drop the token that ended the request: nobody asked for it."""
    (output,) = outputs
    assert output.embedding is not None
    return [embedding_output(output.embedding)]

"""The task of verbs that choose among labels: the probability of each, without sampling and without reading text.

A row asks the model for the logprobs of named tokens, once for each place where labels part, and for one token only.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from pagednb.dataframe.labels.tokens import LabelledPrompt, LabelTokenizer
from pagednb.dataframe.labels.trie import ONE_TOKEN
from pagednb.dataframe.run.task import ONE_QUESTION, Answer, EncodedPrompt, RowRequests
from pagednb.outputs import CompletionOutput, Logprob, RequestOutput
from pagednb.sampling_params import SamplingParams


@dataclasses.dataclass(frozen=True)
class LabelTask:
    """Probabilities of ``labels``, once for each of ``questions``."""

    name: str
    labels: Sequence[str]
    tokenizer: LabelTokenizer
    questions: Sequence[str] = ONE_QUESTION
    pooling: ClassVar[None] = None

    @property
    def params(self) -> SamplingParams:
        """One token, which nobody looks at."""
        return ONE_TOKEN

    @property
    def is_deterministic(self) -> bool:
        """Always: nothing is drawn."""
        return True

    @property
    def fingerprint(self) -> str:
        """Labels and questions, in their order."""
        return json.dumps({"labels": list(self.labels), "questions": list(self.questions)})

    @property
    def max_answer_tokens(self) -> int:
        """Tokens of the longest label."""
        return self.tokenizer.max_tokens()

    def requests(self, prompts: Sequence[EncodedPrompt]) -> RowRequests:
        """Return a request for each branch of each question's labels, the first branch first.

        Raises:
            RowFailure: two labels are the same tokens behind this prompt.
        """
        labelled = [self.tokenizer.label(prompt) for prompt in prompts]
        asks = [ask for prompt in labelled for ask in _asks(prompt)]
        return RowRequests(asks, functools.partial(self._condense, labelled))

    def value(self, answer: Answer) -> np.ndarray:
        """Return probabilities, float64 ``[num_questions, num_labels]``, read-only; each row sums to one."""
        logprobs = [_by_label(output, len(self.labels)) for output in answer]
        probabilities: np.ndarray = np.exp(logprobs)
        probabilities.flags.writeable = False
        return probabilities

    def _condense(self, labelled: Sequence[LabelledPrompt], outputs: Answer) -> Answer:
        """Make one output a question, whose logprobs are of labels by their number."""
        answer = []
        left = iter(outputs)
        for prompt in labelled:
            branches = [_logprobs(next(left) for _ in branch.asks) for branch in prompt.trie.branches]
            answer.append(self._output(prompt.trie.log_probabilities(branches)))
        return answer

    def _output(self, logprobs: np.ndarray) -> RequestOutput:
        candidates = {index: Logprob(logprob) for index, logprob in enumerate(logprobs.tolist())}
        text = self.labels[int(logprobs.argmax())]
        completion = CompletionOutput(index=0, text=text, token_ids=(), logprobs=(candidates,), finish_reason="stop")
        return RequestOutput(request_id="", prompt=None, prompt_token_ids=(), outputs=(completion,))


def _asks(prompt: LabelledPrompt) -> list[tuple[np.ndarray, SamplingParams]]:
    asks = []
    for branch in prompt.trie.branches:
        token_ids = prompt.token_ids
        if branch.prefix:
            token_ids = np.concatenate([token_ids, np.array(branch.prefix, dtype=token_ids.dtype)])
        asks += [(token_ids, params) for params in branch.asks]
    return asks


def _logprobs(outputs: Iterable[RequestOutput]) -> dict[int, float]:
    """The logprobs of a branch's tokens, from the outputs of all its requests."""
    logprobs = {}
    for output in outputs:
        [completion] = output.outputs
        assert completion.logprobs is not None
        logprobs.update({token_id: one.logprob for token_id, one in completion.logprobs[0].items()})
    return logprobs


def _by_label(output: RequestOutput, num_labels: int) -> list[float]:
    logprobs = _logprobs([output])
    return [logprobs[index] for index in range(num_labels)]

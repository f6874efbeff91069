"""What one row asks of the engine, and what the answers mean: the one thing that differs between verbs while rows run.

The row job knows tasks only by ``RowTask``. A task is plain data: it is made before the run and never changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from pagednb.errors import PagednbError
from pagednb.request import Pooling
from pagednb.sampling_params import SamplingParams

if TYPE_CHECKING:
    import numpy as np

    from pagednb.outputs import RequestOutput

Value_co = TypeVar("Value_co", covariant=True)
Answer = list["RequestOutput"]
"""What the engine gave for one row; caches and checkpoints keep it."""

ONE_QUESTION = ("",)


class RowFailure(PagednbError):  # noqa: N818  (a reason, not a fault)
    """Why a row has no value, as a sentence; the run makes it the row's error."""


@dataclasses.dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A row's prompt as the model sees it, chat template and all: its text, and its tokens int32 ``[num_tokens]``."""

    text: str
    token_ids: np.ndarray


def as_it_is(outputs: Answer) -> Answer:
    """Return the outputs: what most tasks keep of them."""
    return outputs


@dataclasses.dataclass(frozen=True, slots=True)
class RowRequests:
    """The requests of one row, one at least: prompt tokens and parameters of each.

    ``condense`` makes of their outputs, in this order, the answer that is kept. It may use what is known of the
    prompt, which ``RowTask.value`` may not: that reads answers of other runs too. It may raise RowFailure.
    """

    asks: Sequence[tuple[np.ndarray, SamplingParams]]
    condense: Callable[[Answer], Answer] = as_it_is


class RowTask(Protocol[Value_co]):
    """What a verb does with a row. Frozen; used from one thread at a time."""

    @property
    def name(self) -> str:
        """The verb."""

    @property
    def params(self) -> SamplingParams:
        """What the run's figures tell of sampling."""

    @property
    def is_deterministic(self) -> bool:
        """Whether equal prompts have equal answers: only then rows share one, and the result cache is used."""

    @property
    def fingerprint(self) -> str:
        """All that decides an answer beside prompt tokens and model, as JSON."""

    @property
    def pooling(self) -> Pooling | None:
        """Which hidden states of a prompt its answer brings; None for none."""

    @property
    def questions(self) -> Sequence[str]:
        """What is put behind the row's text: one prompt a question. ``ONE_QUESTION`` adds nothing."""

    @property
    def max_answer_tokens(self) -> int | None:
        """New tokens a prompt must leave room for; None for as many as there are."""

    def requests(self, prompts: Sequence[EncodedPrompt]) -> RowRequests:
        """Return what a row asks, given its prompts, one a question.

        Raises:
            RowFailure: this row cannot be asked.
        """

    def value(self, answer: Answer) -> Value_co:
        """Return what an answer, condensed, means.

        Raises:
            RowFailure: it means nothing.
        """

"""From a row's text to prompts in tokens: the question behind it, the chat template around it, cut if it is too long.

The row job hands over a chunk of rows at a time. Knows no engine call and no results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pagednb.dataframe.prompts.model_prompt import Chat, as_model_sees_it, as_model_sees_them, encode_prompts
from pagednb.dataframe.run.task import EncodedPrompt
from pagednb.errors import PromptError

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine


@dataclasses.dataclass(frozen=True)
class Truncation:
    """How rows that are too long become shorter.

    ``shorten`` gets a row's position and a question, whether a text fits; it returns the row's longest prompt that
    does, or None. A prompt fits with ``max_prompt_tokens``.
    """

    shorten: Callable[[int, Callable[[str], bool]], str | None]
    max_prompt_tokens: int


@dataclasses.dataclass(frozen=True)
class EncodedRow:
    """A row's prompts, one a question, and whether its values were cut."""

    position: int
    prompts: Sequence[EncodedPrompt]
    is_cut: bool = False


class PromptEncoder:
    """Encodes the rows of one run."""

    def __init__(
        self, engine: LLMEngine, questions: Sequence[str], *, chat: Chat, truncation: Truncation | None
    ) -> None:
        self._engine = engine
        self._questions = questions
        self._chat = chat
        self._truncation = truncation

    def encode(self, rows: Sequence[tuple[int, str]]) -> tuple[list[EncodedRow], dict[int, str]]:
        """Return the rows that can be encoded, in order, and a reason for each of the others; all in one batch."""
        step = len(self._questions)
        seen = self._as_model_sees_them([text for _, text in rows])
        failures: dict[int, str] = {}
        positions: list[int] = []
        texts: list[str] = []
        for index, (position, _) in enumerate(rows):
            of_row = seen[index * step : (index + 1) * step]
            refusals = [each.message for each in of_row if isinstance(each, PromptError)]
            if refusals:
                failures[position] = refusals[0]
                continue
            positions.append(position)
            texts += [each for each in of_row if isinstance(each, str)]
        encoded = self._encode(texts)
        return [self._fitting(at, encoded[i * step : (i + 1) * step]) for i, at in enumerate(positions)], failures

    def _fitting(self, position: int, prompts: list[EncodedPrompt]) -> EncodedRow:
        """The row's prompts, of shorter values if they are too long; as they are where nothing helps."""
        truncation = self._truncation
        if truncation is None or self._fits(prompts):
            return EncodedRow(position, prompts)
        text = truncation.shorten(position, lambda text: self._fits(self._encode(self._as_model_sees_it(text))))
        if text is None:
            return EncodedRow(position, prompts)
        return EncodedRow(position, self._encode(self._as_model_sees_it(text)), is_cut=True)

    def _fits(self, prompts: Sequence[EncodedPrompt]) -> bool:
        assert self._truncation is not None
        return max(len(prompt.token_ids) for prompt in prompts) <= self._truncation.max_prompt_tokens

    def _as_model_sees_it(self, text: str) -> list[str]:
        return [as_model_sees_it(self._engine, text + question, self._chat) for question in self._questions]

    def _as_model_sees_them(self, texts: Sequence[str]) -> list[str | PromptError]:
        """All texts' prompts, one a question."""
        asked = [text + question for text in texts for question in self._questions]
        return as_model_sees_them(self._engine, asked, self._chat) if asked else []

    def _encode(self, texts: list[str]) -> list[EncodedPrompt]:
        if not texts:
            return []
        encoded = encode_prompts(self._engine, texts, self._chat)
        return [EncodedPrompt(*pair) for pair in zip(texts, encoded, strict=True)]

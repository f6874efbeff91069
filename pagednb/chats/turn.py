"""One turn of a conversation: what somebody said, and for an answer how it came about. Frozen."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from pagednb.rendering.fences import closed_markdown
from pagednb.rendering.markdown import render_markdown
from pagednb.rendering.output_html import page, said_html

Role = Literal["user", "assistant"]
TurnState = Literal["done", "streaming", "stopped", "cut", "failed"]
"""``cut``: by the length limit; ``stopped``: by a person; ``failed``: by the error that the turn names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerFigures:
    """How an answer came about; token counts of the model, seconds since it was asked.

    Attributes:
        num_cached_tokens: prompt tokens whose keys and values were in the prefix cache.
        first_token_s: None before the first token.
        thinking_s: from the first token to the end of the thoughts; 0 without thoughts.
        max_context_tokens: what prompt and answer together can never exceed.
    """

    model: str
    max_context_tokens: int
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    num_new_tokens: int = 0
    num_thinking_tokens: int = 0
    thinking_s: float = 0.0
    first_token_s: float | None = None
    duration_s: float = 0.0

    @property
    def num_context_tokens(self) -> int:
        """Tokens of prompt and answer together."""
        return self.num_prompt_tokens + self.num_new_tokens

    @property
    def tokens_per_s(self) -> float | None:
        """Speed behind the first token; None while there is no second."""
        if self.first_token_s is None or self.num_new_tokens < 2 or self.duration_s <= self.first_token_s:
            return None
        return (self.num_new_tokens - 1) / (self.duration_s - self.first_token_s)

    def __str__(self) -> str:
        told = [f"{self.num_prompt_tokens:,} prompt tokens, {self.num_cached_tokens:,} of them cached"]
        told.append(f"{self.num_new_tokens:,} new")
        told += [] if self.tokens_per_s is None else [f"{self.tokens_per_s:,.1f} tokens/s"]
        told += [] if self.first_token_s is None else [f"first after {self.first_token_s:.2f} s"]
        return ", ".join(told)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn:
    """What somebody said.

    Attributes:
        turn_id: names the turn within its conversation, for as long as that lives.
        thinking: what the model thought before it answered; never sent back to it.
        error: the sentence of what went wrong, of a failed turn.
        figures: of an answer that the engine has begun.
        is_edited: a person changed the model's words.
    """

    turn_id: str
    role: Role
    text: str
    thinking: str = ""
    state: TurnState = "done"
    error: str | None = None
    figures: AnswerFigures | None = None
    is_edited: bool = False

    @property
    def is_streaming(self) -> bool:
        """Whether the answer is still growing."""
        return self.state == "streaming"

    def __str__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        # with markdown alone JupyterLab would run the scripts in it
        drawn = said_html(self.text) if self.role == "user" else page(render_markdown(self.text))
        return {"text/html": drawn, "text/markdown": closed_markdown(self.text), "text/plain": self.text}

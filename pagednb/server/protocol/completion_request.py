"""The body of ``/v1/completions``."""

from __future__ import annotations

from pydantic import Field

from pagednb.server.protocol.answer_fields import AnswerFields


class CompletionRequest(AnswerFields):
    """Prompts to go on with: texts or token ids, one or many."""

    prompt: str | list[int] | list[str] | list[list[int]]
    logprobs: int | None = None
    echo: bool | None = Field(default=None, description="Begin each answer with its prompt.")
    add_special_tokens: bool | None = None

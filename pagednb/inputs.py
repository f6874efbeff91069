"""Prompts as dicts, under vLLM's names: for type checkers, and for code that builds them by their classes."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class TextPrompt(TypedDict):
    """A text, to be encoded by the model's tokenizer."""

    prompt: str


class TokensPrompt(TypedDict):
    """Token ids; the text beside them is only shown."""

    prompt_token_ids: list[int]
    prompt: NotRequired[str]

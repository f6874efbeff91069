"""Thoughts before an answer: the switch for them in a model's chat template, and where they end in its text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagednb.engine.thinking_switch import thinking_switch
from pagednb.errors import OptionError
from pagednb.rendering.thinking import ThinkingSplitter

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine
    from pagednb.engine.token_prompt import Prompt

_OPEN = "<think>"


def template_kwargs(engine: LLMEngine, wish: str) -> dict[str, bool]:
    """Return what the chat template is told for ``wish``: "on", "off", or "auto" for nothing.

    Raises:
        OptionError: the template has no such switch.
    """
    if wish == "auto":
        return {}
    switch = thinking_switch(engine.tokenizer.get_chat_template()) if engine.has_chat_template else None
    if switch is None:
        raise OptionError(
            "This model's chat template has no switch for thinking, so --thinking has no place.",
            hint="Leave it out: the model thinks always or never.",
        )
    return {switch: wish == "on"}


def opening_tag(prompt: Prompt) -> str:
    """Return the tag that a prompt itself ends in: some templates begin the model's thoughts for it."""
    text = prompt["prompt"] if isinstance(prompt, dict) and "prompt" in prompt else prompt
    return _OPEN if isinstance(text, str) and text.rstrip().endswith(_OPEN) else ""


def split_thought(text: str) -> tuple[str, str]:
    """Return what a model thought, without its tags, and what it answered."""
    splitter = ThinkingSplitter(_OPEN)
    pieces = [*splitter.push(text), *splitter.finish()]
    thought, answer = ("".join(piece.text for piece in pieces if piece.kind == kind) for kind in ("thinking", "answer"))
    return (thought.strip(), answer.lstrip()) if thought else ("", answer)

"""What a chat shows of the model that would answer next."""

from __future__ import annotations

from typing import Any

from pagednb import runtime
from pagednb.chats.chat_options import DEFAULTS
from pagednb.engine.thinking_switch import thinking_switch
from pagednb.errors import EngineNotLoadedError


def model_card() -> dict[str, Any] | None:
    """Return what the model is called, can and does by default; None when none is loaded."""
    try:
        engine = runtime.get_engine()
    except EngineNotLoadedError:
        return None
    can_think = engine.has_chat_template and thinking_switch(engine.tokenizer.get_chat_template()) is not None
    return {
        "name": engine.resolved.name,
        "max_context_tokens": engine.geometry.max_model_len,
        "can_switch_thinking": can_think,
        "defaults": {**DEFAULTS, **engine.resolved.generation_config},
    }

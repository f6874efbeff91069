"""A chat as a frame: one row a turn, for ``Chat.to_frame``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from pagednb.dataframe.results.columns import TEXT_DTYPE

if TYPE_CHECKING:
    from pagednb.chats.turn import Turn

_TEXTS = ("turn", "role", "text", "thinking", "state", "error", "model")
_COUNTS = ("branch", "branches", "prompt_tokens", "cached_tokens", "new_tokens", "thinking_tokens")
_SECONDS = ("first_token_s", "thinking_s", "duration_s", "tokens_per_s")


def chat_frame(turns: Sequence[tuple[Turn, Sequence[str]]]) -> pd.DataFrame:
    """Return turns, each with the ids of its versions, as a frame; ``branch`` counts from 1."""
    rows = [_row(turn, siblings) for turn, siblings in turns]
    dtypes = {
        **dict.fromkeys(_TEXTS, TEXT_DTYPE),
        **dict.fromkeys(_COUNTS, "Int64"),
        **dict.fromkeys(_SECONDS, "Float64"),
    }
    return pd.DataFrame(
        {name: pd.array([row.get(name) for row in rows], dtype=dtype) for name, dtype in dtypes.items()}
    )


def _row(turn: Turn, siblings: Sequence[str]) -> dict[str, object]:
    row: dict[str, object] = {
        "turn": turn.turn_id,
        "role": turn.role,
        "text": turn.text,
        "thinking": turn.thinking or None,
        "state": turn.state,
        "error": turn.error,
        "branch": siblings.index(turn.turn_id) + 1,
        "branches": len(siblings),
    }
    figures = turn.figures
    if figures is None:
        return row
    return row | {
        "model": figures.model,
        "prompt_tokens": figures.num_prompt_tokens,
        "cached_tokens": figures.num_cached_tokens,
        "new_tokens": figures.num_new_tokens,
        "thinking_tokens": figures.num_thinking_tokens,
        "first_token_s": figures.first_token_s,
        "thinking_s": figures.thinking_s,
        "duration_s": figures.duration_s,
        "tokens_per_s": figures.tokens_per_s,
    }

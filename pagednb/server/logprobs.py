"""Log-probabilities in OpenAI's two shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pagednb.outputs import Logprob

LOWEST = -9999.0
"""What stands for minus infinity, which JSON does not have."""

Position = dict[int, Logprob]
"""The sampled token first, then the likeliest; by token id."""


def chat_logprobs(positions: Iterable[Position], num_top: int) -> dict[str, Any]:
    """Return the shape of chats, with the ``num_top`` likeliest at each position."""
    return {"content": [_chat_position(position, num_top) for position in positions], "refusal": None}


def completion_logprobs(positions: Sequence[Position], num_top: int, text_offset: int) -> dict[str, Any]:
    """Return the shape of completions; the first token begins at character ``text_offset`` of the answer."""
    tokens, offsets = [], []
    for position in positions:
        tokens.append(_text(next(iter(position.values()))))
        offsets.append(text_offset)
        text_offset += len(tokens[-1])
    return {
        "tokens": tokens,
        "token_logprobs": [_number(next(iter(position.values()))) for position in positions],
        "top_logprobs": [{_text(entry): _number(entry) for entry in _top(position, num_top)} for position in positions],
        "text_offset": offsets,
    }


def _chat_position(position: Position, num_top: int) -> dict[str, Any]:
    sampled = next(iter(position.values()))
    return {**_chat_entry(sampled), "top_logprobs": [_chat_entry(entry) for entry in _top(position, num_top)]}


def _chat_entry(entry: Logprob) -> dict[str, Any]:
    text = _text(entry)
    return {"token": text, "logprob": _number(entry), "bytes": list(text.encode())}


def _top(position: Position, num_top: int) -> list[Logprob]:
    """Return the likeliest entries, which the sampled one may be among."""
    return [entry for entry in position.values() if entry.rank is not None and entry.rank <= num_top]


def _text(entry: Logprob) -> str:
    return entry.decoded_token or ""


def _number(entry: Logprob) -> float:
    return max(entry.logprob, LOWEST)

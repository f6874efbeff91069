"""Log-probabilities in OpenAI's two shapes, and in vLLM's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pagednb.outputs import Logprob

LOWEST = -9999.0
"""What stands for minus infinity, which JSON does not have."""

Position = dict[int, Logprob]
"""The token that is there first, then the likeliest; by token id."""


def chat_logprobs(positions: Iterable[Position], num_top: int) -> dict[str, Any]:
    """Return the shape of chats, with the ``num_top`` likeliest at each position."""
    return {"content": [_chat_position(position, num_top) for position in positions], "refusal": None}


def completion_logprobs(
    positions: Sequence[Position | None], num_top: int, *, text_offset: int = 0, first_text: str = ""
) -> dict[str, Any]:
    """Return the shape of completions; the first token begins at character ``text_offset`` of the answer.

    A prompt's first token, ``first_text``, has no position: nothing comes before it.
    """
    texts = [first_text if position is None else _text(_first(position)) for position in positions]
    offsets = []
    for text in texts:
        offsets.append(text_offset)
        text_offset += len(text)
    return {
        "tokens": texts,
        "token_logprobs": [None if position is None else _number(_first(position)) for position in positions],
        "top_logprobs": [_completion_top(position, num_top) for position in positions],
        "text_offset": offsets,
    }


def prompt_logprobs(positions: Iterable[Position | None]) -> list[dict[str, Any] | None]:
    """Return vLLM's shape: by token id, of each of a prompt's tokens but the first."""
    return [None if position is None else _by_token_id(position) for position in positions]


def _by_token_id(position: Position) -> dict[str, Any]:
    return {
        str(token_id): {"logprob": _number(entry), "rank": entry.rank, "decoded_token": entry.decoded_token}
        for token_id, entry in position.items()
    }


def _chat_position(position: Position, num_top: int) -> dict[str, Any]:
    return {**_chat_entry(_first(position)), "top_logprobs": [_chat_entry(entry) for entry in _top(position, num_top)]}


def _chat_entry(entry: Logprob) -> dict[str, Any]:
    text = _text(entry)
    return {"token": text, "logprob": _number(entry), "bytes": list(text.encode())}


def _completion_top(position: Position | None, num_top: int) -> dict[str, float] | None:
    return None if position is None else {_text(entry): _number(entry) for entry in _top(position, num_top)}


def _first(position: Position) -> Logprob:
    return next(iter(position.values()))


def _top(position: Position, num_top: int) -> list[Logprob]:
    """Return the likeliest entries, which the first one may be among."""
    return [entry for entry in position.values() if entry.rank is not None and entry.rank <= num_top]


def _text(entry: Logprob) -> str:
    return entry.decoded_token or ""


def _number(entry: Logprob) -> float:
    return max(entry.logprob, LOWEST)

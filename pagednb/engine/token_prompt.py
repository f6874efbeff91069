"""What callers give as prompts, and what the engine takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np

from pagednb.config import CacheGeometry
from pagednb.errors import PromptError
from pagednb.sampling_params import SamplingParams

Prompt: TypeAlias = str | Sequence[int] | np.ndarray | Mapping[str, Any]
"""Text, token ids, or a dict with ``prompt`` or ``prompt_token_ids`` (with both, the text is only shown)."""


@dataclasses.dataclass(frozen=True, slots=True)
class TokenPrompt:
    """A prompt as the engine takes it: token ids, int32 ``[num_tokens]``, and the text if it was given."""

    token_ids: np.ndarray
    text: str | None = None


def kept_part(params: SamplingParams, geometry: CacheGeometry) -> slice:
    """Return which of a prompt's tokens ``params.truncate_prompt_tokens`` keeps: the last ones, or all."""
    num_kept = params.truncate_prompt_tokens
    if num_kept == -1:
        room = min(geometry.max_model_len, geometry.num_usable_tokens)
        num_kept = max(1, room - (params.max_tokens or 1))
    return slice(None if num_kept is None else -num_kept, None)


def as_prompt_list(prompts: Any) -> list[Any]:
    """Return prompts as a list: one alone may be text, a dict, or token ids. Raises PromptError for anything else."""
    if isinstance(prompts, str | Mapping):
        return [prompts]
    # bytes are numbers to Python, and would pass for token ids
    if not isinstance(prompts, Iterable) or isinstance(prompts, bytes | bytearray):
        raise PromptError(
            f"Prompts of type {type(prompts).__name__} are not valid.", hint="Give a text, or a list of prompts."
        )
    prompt_list = list(prompts)
    if prompt_list and all(isinstance(item, Integral) for item in prompt_list):
        return [prompt_list]
    return prompt_list


def split_prompt(prompt: Prompt) -> tuple[str | None, np.ndarray | None]:
    """Return text and token ids; at least one of them is there. Raises PromptError for anything else."""
    if isinstance(prompt, str):
        return prompt, None
    if isinstance(prompt, Mapping):
        return _split_mapping(prompt)
    return None, _as_token_ids(prompt)


def _split_mapping(prompt: Mapping[str, Any]) -> tuple[str | None, np.ndarray | None]:
    unknown = {name for name, value in prompt.items() if value is not None} - {"prompt", "prompt_token_ids"}
    text, token_ids = prompt.get("prompt"), prompt.get("prompt_token_ids")
    if unknown or not isinstance(text, str | None) or (text is None and token_ids is None):
        raise PromptError(
            f"A prompt dict with keys {sorted(map(str, prompt))} is not valid.",
            hint='Use {"prompt": "text"} or {"prompt_token_ids": [1, 2, 3]}.',
        )
    return text, None if token_ids is None else _as_token_ids(token_ids)


def _as_token_ids(value: Any) -> np.ndarray:
    try:
        token_ids = np.asarray(value)
    except (ValueError, OverflowError):  # ragged, or beyond 64 bits
        token_ids = np.empty(0, dtype=object)
    if token_ids.ndim != 1 or (len(token_ids) and token_ids.dtype.kind not in "iu"):
        raise PromptError(
            f"A prompt of type {type(value).__name__} is not valid.", hint="Give text, or a list of token ids."
        )
    if not len(token_ids):
        raise PromptError("The prompt is empty: it has no tokens.")
    return token_ids

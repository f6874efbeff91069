"""How many tokens a request took, as it is told to the client."""

from __future__ import annotations

import dataclasses
from typing import Any

from pagednb.server.api_error import ApiError
from pagednb.server.protocol.answer_fields import AnswerFields


@dataclasses.dataclass(slots=True)
class Usage:
    """Counts over all prompts and answers of one request; stop tokens are counted."""

    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0
    num_cached_tokens: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return OpenAI's ``usage``."""
        return {
            "prompt_tokens": self.num_prompt_tokens,
            "completion_tokens": self.num_completion_tokens,
            "total_tokens": self.num_prompt_tokens + self.num_completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.num_cached_tokens},
        }


class StreamUsage:
    """What the events of a stream tell of usage: nothing, all of it in the last one, or in each what there is so far.

    Raises:
        ApiError: ``body`` asks for it although it wants no stream.
    """

    def __init__(self, body: AnswerFields) -> None:
        options = body.stream_options
        if options is not None and not body.stream:
            raise ApiError("stream_options belongs to a stream.", param="stream_options")
        self.is_told = options is not None and options.include_usage
        self._is_told_always = options is not None and self.is_told and options.continuous_usage_stats

    def beside(self, usage: Usage) -> dict[str, Any]:
        """Return what an event says beside its choices."""
        if not self.is_told:
            return {}
        return {"usage": usage.as_dict() if self._is_told_always else None}

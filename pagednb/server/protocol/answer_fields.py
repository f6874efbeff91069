"""What both of OpenAI's routes that generate take beside how answers are sampled."""

from __future__ import annotations

from typing import Any

from pagednb.server.protocol.body import Body, unused
from pagednb.server.protocol.sampling_fields import SamplingFields


class StreamOptions(Body):
    """What a stream tells beside the text."""

    include_usage: bool = False
    continuous_usage_stats: bool = False
    include_obfuscation: Any = unused()


class AnswerFields(SamplingFields):
    """Which model, in what form, and what is told of it; ``prompt_logprobs`` and ``return_token_ids`` are vLLM's."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    prompt_logprobs: int | None = None
    return_token_ids: bool | None = None
    user: Any = unused()
    store: Any = unused()
    metadata: Any = unused()
    service_tier: Any = unused()
    safety_identifier: Any = unused()
    prompt_cache_key: Any = unused()
    prompt_cache_retention: Any = unused()

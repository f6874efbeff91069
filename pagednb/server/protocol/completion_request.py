"""The body of ``/v1/completions``."""

from __future__ import annotations

from typing import Literal

from pagednb.server.protocol.sampling_fields import SamplingFields, StreamOptions, UnusedFields


class CompletionRequest(SamplingFields, UnusedFields):
    """Prompts to go on with: texts or token ids, one or many."""

    model: str | None = None
    prompt: str | list[int] | list[str] | list[list[int]]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: int | None = None
    add_special_tokens: bool | None = None
    # not built: these are as good as absent
    echo: Literal[False] | None = None
    suffix: Literal[""] | None = None
    best_of: Literal[1] | None = None

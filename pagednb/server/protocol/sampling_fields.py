"""How answers are sampled: OpenAI's fields and vLLM's, the same for every route that generates.

Ranges are checked by ``SamplingParams``, which every other surface uses too. A field that is null counts as not given.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pagednb.server.protocol.body import Body, unused


class StructuredOutputs(Body):
    """vLLM's constraints: one of these."""

    json_: str | dict[str, Any] | None = Field(default=None, alias="json")
    choice: list[str] | None = None
    regex: str | None = None
    grammar: str | None = None


class SamplingFields(Body):
    """Fields of the same names and meanings as in ``SamplingParams``, and other names of theirs."""

    n: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    logit_bias: dict[str, float] | None = None
    skip_special_tokens: bool | None = None
    include_stop_str_in_output: bool | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_choice: list[str] | None = None
    guided_regex: str | None = None
    guided_grammar: str | None = None


class UnusedFields(Body):
    """Fields that OpenAI's clients send and that have no meaning on a machine of one's own."""

    user: Any = unused()
    store: Any = unused()
    metadata: Any = unused()
    service_tier: Any = unused()
    safety_identifier: Any = unused()
    prompt_cache_key: Any = unused()
    prompt_cache_retention: Any = unused()


class StreamOptions(Body):
    """What a stream tells beside the text."""

    include_usage: bool = False
    include_obfuscation: Any = unused()

"""How answers are sampled: OpenAI's fields and vLLM's, the same for every route that generates.

Ranges are checked by ``SamplingParams``, which every other surface uses too. A field that is null counts as not given.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from pagednb.server.protocol.body import Body
from pagednb.server.protocol.foreign_fields import without_neutral
from pagednb.server.protocol.response_format import ResponseFormat

Priority = Annotated[int, Field(ge=-(2**31), lt=2**31)]
"""vLLM's: the lowest runs first."""


class StructuredOutputs(Body):
    """vLLM's constraints: one of these."""

    json_: str | dict[str, Any] | None = Field(default=None, alias="json")
    choice: list[str] | None = None
    regex: str | None = None
    grammar: str | None = None
    json_object: bool | None = None


class SamplingFields(Body):
    """Fields of the same names and meanings as in ``SamplingParams``, and other names of theirs."""

    n: int | None = None
    best_of: int | None = None
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
    allowed_token_ids: list[int] | None = None
    bad_words: list[str] | None = None
    truncate_prompt_tokens: int | None = None
    skip_special_tokens: bool | None = None
    include_stop_str_in_output: bool | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_choice: list[str] | None = None
    guided_regex: str | None = None
    guided_grammar: str | None = None
    response_format: ResponseFormat | None = None
    priority: Priority | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_neutral(cls, sent: Any) -> Any:
        return without_neutral(sent, cls.model_fields)

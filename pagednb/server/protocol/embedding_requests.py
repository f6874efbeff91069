"""The bodies of ``/v1/embeddings`` and ``/score``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from pagednb.request import Pooling
from pagednb.server.protocol.body import Body, unused
from pagednb.server.protocol.foreign_fields import without_neutral
from pagednb.server.protocol.sampling_fields import Priority


class PooledFields(Body):
    """What both take. ``pooling`` says what stands for a text, by default its last token; vLLM fixes it for a model."""

    model: str | None = None
    truncate_prompt_tokens: int | None = None
    priority: Priority | None = None
    pooling: Pooling | None = None
    user: Any = unused()

    @model_validator(mode="before")
    @classmethod
    def _drop_neutral(cls, sent: Any) -> Any:
        return without_neutral(sent, cls.model_fields)


class EmbeddingRequest(PooledFields):
    """Texts or token ids to be made vectors of."""

    input: str | list[int] | list[str] | list[list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(default=None, description="As many as the model has.")
    add_special_tokens: bool | None = None
    normalize: bool | None = Field(default=None, description="False leaves vectors as long as they are.")


class ScoreRequest(PooledFields):
    """One text to be compared with each of several, or several with as many others."""

    text_1: str | list[str]
    text_2: str | list[str]

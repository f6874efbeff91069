"""OpenAI's ``response_format``: what form an answer has."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pagednb.server.protocol.body import Body


class JsonSchema(Body):
    """A named JSON Schema."""

    name: str
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """Text, any JSON object, or what fits a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

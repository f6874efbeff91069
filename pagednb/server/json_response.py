"""JSON as bytes, written by pydantic's Rust: several times as fast as the standard library on long answers."""

from __future__ import annotations

from typing import Any

import pydantic_core
from starlette.responses import Response


def to_json(value: Any) -> bytes:
    """Return plain Python data as one line of JSON; what is no number becomes null."""
    return pydantic_core.to_json(value, inf_nan_mode="null")


class JsonResponse(Response):
    """An answer in one piece."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return to_json(content)

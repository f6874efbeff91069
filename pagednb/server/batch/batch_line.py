"""One line of a batch file: a request and the name under which its answer is found again."""

from __future__ import annotations

import codecs
import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from pagednb.server.protocol.body import Body


class BatchLine(Body):
    """What a line of the input says."""

    custom_id: Annotated[str, Field(min_length=1)]
    method: Literal["POST"]
    url: Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
    body: dict[str, Any]


class BatchLineError(Exception):
    """A line that holds no request; ``custom_id`` is its name, if it has one at least."""

    def __init__(self, message: str, *, code: str = "invalid_line", custom_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.custom_id = custom_id


def read_line(text: bytes, number: int) -> BatchLine:
    """Return the request of the line with that number. Raises BatchLineError."""
    try:
        return BatchLine.model_validate_json(text.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        raise BatchLineError(f"Line {number}: {reason}.", custom_id=_custom_id(text)) from None


def answer_line(request_id: str, custom_id: str, status: int, body: Any) -> dict[str, Any]:
    """Return OpenAI's output line for a request that was answered, be it with an error."""
    response = {"status_code": status, "request_id": request_id, "body": body}
    return {"id": f"batch_{request_id}", "custom_id": custom_id, "response": response, "error": None}


def refusal_line(request_id: str, error: BatchLineError) -> dict[str, Any]:
    """Return OpenAI's output line for a line that holds no request."""
    told = {"code": error.code, "message": str(error)}
    return {"id": f"batch_{request_id}", "custom_id": error.custom_id, "response": None, "error": told}


def _custom_id(text: bytes) -> str | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    custom_id = value.get("custom_id") if isinstance(value, dict) else None
    return custom_id if isinstance(custom_id, str) else None

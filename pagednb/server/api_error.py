"""Errors as OpenAI's clients know them: a status, and a body that says what is wrong and where."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException

from pagednb.errors import (
    ContextLengthError,
    EngineAsleepError,
    EngineDeadError,
    PagednbError,
    RequestCancelledError,
)

BAD_REQUEST, NOT_FOUND, NO_SUCH_METHOD, TOO_LARGE = 400, 404, 405, 413
CLIENT_GONE = 499
TOO_MANY, FAILED, UNAVAILABLE = 429, 500, 503
RETRY_AFTER = {"Retry-After": "1"}

_STATUS_TO_TYPE = {
    401: "authentication_error",
    403: "permission_error",
    TOO_MANY: "rate_limit_error",
}


class ApiError(HTTPException):
    """An answer that is an error. ``param`` names the field at fault, ``code`` is for programs."""

    def __init__(
        self,
        message: str,
        *,
        status: int = BAD_REQUEST,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        """Return what is sent: OpenAI's ``{"error": ...}``."""
        return error_body(self.status_code, self.detail, param=self.param, code=self.code)


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Return OpenAI's body for an error."""
    kind = _STATUS_TO_TYPE.get(status, "server_error" if status >= FAILED else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def asleep() -> ApiError:
    """Return what a client is told while the engine sleeps: it can do nothing about that but wait."""
    message = "The engine is asleep. It answers again once it is woken up where it was put to sleep."
    return ApiError(message, status=UNAVAILABLE, code="engine_asleep", headers=RETRY_AFTER)


def stopping() -> ApiError:
    """Return what a client is told while the server stops."""
    return ApiError("The server is stopping.", status=UNAVAILABLE, code="server_stopping", headers=RETRY_AFTER)


def as_api_error(error: PagednbError) -> ApiError:
    """Return what a client is told of one of our errors: what was asked for is at fault unless the engine is."""
    if isinstance(error, EngineAsleepError):
        return asleep()
    if isinstance(error, EngineDeadError | RequestCancelledError):
        return ApiError(str(error), status=UNAVAILABLE, code="engine_unavailable", headers=RETRY_AFTER)
    if isinstance(error, ContextLengthError):
        return ApiError(str(error), code="context_length_exceeded")
    if isinstance(error, ValueError | NotImplementedError):
        return ApiError(str(error))
    return ApiError(str(error), status=FAILED, code="engine_error")

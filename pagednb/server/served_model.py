"""The model as its clients name it."""

from __future__ import annotations

from pagednb.server.api_error import NOT_FOUND, ApiError
from pagednb.server.settings import ServerSettings


def require_model(settings: ServerSettings, name: str | None) -> None:
    """Raise ApiError unless ``name`` is one of the served model's, or None."""
    if name is not None and name not in settings.served_model_names:
        known = ", ".join(map(repr, settings.served_model_names))
        message = f"There is no model {name!r} here. Served: {known}."
        raise ApiError(message, status=NOT_FOUND, param="model", code="model_not_found")

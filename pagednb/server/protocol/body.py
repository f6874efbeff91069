"""What all request bodies have in common: no field that is not known, no value of another type."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def unused() -> Any:
    """Declare a field that clients send out of habit and that changes no answer."""
    return Field(default=None, description="Accepted and unused.")


class Body(BaseModel):
    """A JSON object, as strict as it looks: the string "1" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

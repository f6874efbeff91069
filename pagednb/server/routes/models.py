"""``/v1/models``: what is served."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter

from pagednb.server.desk import Desk
from pagednb.server.json_response import JsonResponse
from pagednb.server.served_model import require_model


def model_routes(desk: Desk) -> APIRouter:
    """Return the routes."""
    router = APIRouter()
    created = int(time.time())

    def card(name: str) -> dict[str, Any]:
        names = desk.settings.served_model_names
        return {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "pagednb",
            "root": names[0],
            "parent": None,
            "max_model_len": desk.engine.geometry.max_model_len,
        }

    @router.get("/v1/models", response_model=None)
    async def models() -> JsonResponse:
        """List the served model under all of its names."""
        return JsonResponse({"object": "list", "data": [card(name) for name in desk.settings.served_model_names]})

    @router.get("/v1/models/{name:path}", response_model=None)
    async def model(name: str) -> JsonResponse:
        """Describe the served model."""
        require_model(desk.settings, name)
        return JsonResponse(card(name))

    return router

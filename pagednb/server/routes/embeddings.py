"""``/v1/embeddings``: not built, and says so."""

from __future__ import annotations

from fastapi import APIRouter

from pagednb.server.api_error import NOT_BUILT, ApiError
from pagednb.server.desk import Desk


def embedding_routes(desk: Desk) -> APIRouter:
    """Return the route."""
    router = APIRouter()

    @router.post("/v1/embeddings", response_model=None, responses={NOT_BUILT: {"description": "Not built yet."}})
    async def embeddings() -> None:
        """Refuse, whatever is sent."""
        raise ApiError("Embeddings are not built yet.", status=NOT_BUILT, code="not_built")

    return router

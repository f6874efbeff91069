"""``/health`` and ``/version``: for probes."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from pagednb.server.api_error import UNAVAILABLE, ApiError, asleep
from pagednb.server.desk import Desk
from pagednb.server.json_response import JsonResponse
from pagednb.version import VERSION


def health_routes(desk: Desk) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.head("/health", include_in_schema=False)
    @router.get("/health", response_model=None)
    async def health() -> Response:
        """Answer 200 while the engine would answer a request, 503 when it is gone or asleep."""
        if desk.engine.is_over:
            raise ApiError("The engine is gone.", status=UNAVAILABLE, code="engine_unavailable")
        if desk.engine.asleep is not None:
            raise asleep()
        return Response()

    @router.get("/version", response_model=None)
    async def version() -> JsonResponse:
        """Tell pagednb's version."""
        return JsonResponse({"version": VERSION})

    return router

"""``/metrics``: for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from pagednb.server.desk import Desk
from pagednb.server.figures import CONTENT_TYPE


def metric_routes(desk: Desk) -> APIRouter:
    """Return the route."""
    router = APIRouter()

    @router.get("/metrics", response_model=None)
    async def metrics() -> Response:
        """Tell the figures of this moment."""
        return Response(await desk.apart(desk.figures.text), media_type=CONTENT_TYPE)

    return router

"""The application: routes over one engine, behind what refuses and reports. Knows no sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from pagednb.server.body_limit import BodyLimit
from pagednb.server.desk import Desk
from pagednb.server.error_answers import answer_fault, answer_http_error, answer_invalid_body, answer_nobody
from pagednb.server.fault_wall import FaultWall
from pagednb.server.gate import Gate
from pagednb.server.routes.chat import chat_routes
from pagednb.server.routes.completions import completion_routes
from pagednb.server.routes.embeddings import embedding_routes
from pagednb.server.routes.generate import generate_routes
from pagednb.server.routes.health import health_routes
from pagednb.server.routes.metrics import metric_routes
from pagednb.server.routes.models import model_routes
from pagednb.server.routes.tokens import token_routes
from pagednb.server.served_call import ClientGoneError
from pagednb.version import VERSION

_ROUTES = (
    completion_routes,
    chat_routes,
    embedding_routes,
    model_routes,
    token_routes,
    generate_routes,
    health_routes,
    metric_routes,
)


def create_app(desk: Desk) -> ASGIApp:
    """Return an ASGI application that serves the desk's engine while its lifespan lasts."""
    settings = desk.settings

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with desk.opened():
            yield

    # the pages that FastAPI makes of the specification load scripts from elsewhere
    api = FastAPI(title="pagednb", version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None)
    for routes in _ROUTES:
        api.include_router(routes(desk))
    api.add_exception_handler(RequestValidationError, answer_invalid_body)
    api.add_exception_handler(HTTPException, answer_http_error)
    api.add_exception_handler(ClientGoneError, answer_nobody)
    api.add_exception_handler(Exception, answer_fault)
    app: ASGIApp = BodyLimit(api, desk)
    app = Gate(app, api_key=settings.api_key, allowed_origins=settings.allowed_origins)
    if settings.allowed_origins:
        app = CORSMiddleware(
            app, allow_origins=settings.allowed_origins, allow_methods=("GET", "POST"), allow_headers=("*",)
        )
    return FaultWall(app)

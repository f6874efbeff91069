"""``pagednb.serve``: the loaded engine over HTTP, beside whatever else uses it."""

from __future__ import annotations

import dataclasses
import importlib.util
import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pagednb import runtime
from pagednb.errors import EngineNotLoadedError, OptionError, refuse_unknown_options
from pagednb.server.settings import ServerSettings

if TYPE_CHECKING:
    from pagednb.server.server import Server

_LIBRARIES = ("fastapi", "uvicorn", "prometheus_client")


def serve(
    port: int = 0,
    *,
    host: str = "127.0.0.1",
    api_key: str | None = None,
    served_model_name: str | Sequence[str] | None = None,
    **limits: Any,
) -> Server:
    """Serve the loaded model to OpenAI's clients, curl and others; the notebook goes on and shares the engine.

    Ends with ``stop()`` of what is returned, with ``pagednb.unload()`` and with ``%unload_ext pagednb``.

    Args:
        port: 0 takes one that is free.
        host: Who can reach it: this machine alone; with "0.0.0.0" whoever reaches the machine, so give an ``api_key``.
        api_key: What clients must send.
        served_model_name: What clients call the model: a name or several, else what ``pagednb.load`` was told.
        limits: ``max_sequences``, ``max_n``, ``max_prompts``, ``max_body_bytes``, ``allowed_origins`` and others;
            ``help(pagednb.server.settings.ServerSettings)`` explains all.

    Raises:
        EngineNotLoadedError: there is no model to be served.
        OptionError: an unknown or wrong option, a port that is taken, or the extra ``serve`` is not installed.
    """
    require_libraries()
    engine = runtime.get_engine()
    if engine.is_over:
        raise EngineNotLoadedError("The engine is over.", hint="Load a model again.")
    names = engine.config.served_model_name if served_model_name is None else served_model_name
    settings = make_settings(engine.resolved.name, names, api_key=api_key, **limits)
    from pagednb.server.listener import bind_listener
    from pagednb.server.server import Server

    server = Server(engine, bind_listener(host, port), settings)
    stop = weakref.WeakMethod(server.stop)  # a server that was stopped may be forgotten; one that runs is not
    runtime.before_unload(lambda: (end := stop()) and end())
    return server


def make_settings(model: str, served_model_name: str | Sequence[str] | None, **options: Any) -> ServerSettings:
    """Return settings under which ``model`` is served. Raises OptionError as ``serve``."""
    refuse_unknown_options(options, [field.name for field in dataclasses.fields(ServerSettings)], owner="serve")
    names = _as_tuple(model if served_model_name is None else served_model_name)
    if "allowed_origins" in options:
        options["allowed_origins"] = _as_tuple(options["allowed_origins"])
    return ServerSettings(served_model_names=names, **options)


def _as_tuple(value: object) -> tuple[Any, ...]:
    """Return one text or several as a tuple; what is neither stands in it, to be refused."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)


def require_libraries() -> None:
    """Raise OptionError unless the libraries of the extra ``serve`` are there."""
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise OptionError(
            f"Serving needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed.",
            hint='Install them with: pip install "pagednb[serve]"',
        )

"""pagednb: a language-model engine that lives inside a notebook kernel.

Importing it does nothing: each name below is imported at its first use, torch with the first model that is loaded.
``load`` alone stands here: it ties the engine to the pandas accessor, which know nothing of each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pagednb.version import VERSION

if TYPE_CHECKING:
    import os

    from pagednb.beam_search_params import BeamSearchParams
    from pagednb.chats.chat import chat
    from pagednb.dataframe.accessor import frame
    from pagednb.dataframe.evaluation.evaluate import evaluate
    from pagednb.dataframe.kept.checkpoint import Checkpoint
    from pagednb.dataframe.results.last_run import last_run
    from pagednb.inputs import TextPrompt, TokensPrompt
    from pagednb.llm import LLM
    from pagednb.monitoring.monitor import monitor
    from pagednb.outputs import CompletionOutput, RequestOutput
    from pagednb.runtime import sleep, status, unload, wake_up
    from pagednb.sampling_params import SamplingParams
    from pagednb.server.serve import serve

__version__ = VERSION
__all__ = [
    "BeamSearchParams",
    "Checkpoint",
    "CompletionOutput",
    "LLM",
    "RequestOutput",
    "SamplingParams",
    "TextPrompt",
    "TokensPrompt",
    "chat",
    "evaluate",
    "frame",
    "last_run",
    "load",
    "monitor",
    "serve",
    "sleep",
    "status",
    "unload",
    "wake_up",
]

_NAME_TO_MODULE = {
    "BeamSearchParams": "pagednb.beam_search_params",
    "Checkpoint": "pagednb.dataframe.kept.checkpoint",
    "CompletionOutput": "pagednb.outputs",
    "LLM": "pagednb.llm",
    "RequestOutput": "pagednb.outputs",
    "SamplingParams": "pagednb.sampling_params",
    "TextPrompt": "pagednb.inputs",
    "TokensPrompt": "pagednb.inputs",
    "chat": "pagednb.chats.chat",
    "evaluate": "pagednb.dataframe.evaluation.evaluate",
    "frame": "pagednb.dataframe.accessor",
    "last_run": "pagednb.dataframe.results.last_run",
    "monitor": "pagednb.monitoring.monitor",
    "serve": "pagednb.server.serve",
    "sleep": "pagednb.runtime",
    "status": "pagednb.runtime",
    "unload": "pagednb.runtime",
    "wake_up": "pagednb.runtime",
}


def load(model: str | os.PathLike[str] | None = None, *, replace: bool = False, **options: Any) -> LLM:
    """Load a model for this process, give every frame and series its ``llm`` verbs, and return the ``LLM``.

    Without ``model``, the embedded demonstration model. Takes every option of ``LLM``, such as ``dtype``, ``device``,
    ``max_model_len`` and ``gpu_memory_utilization``; ``help(pagednb.config.EngineConfig)`` explains all. The same call
    again does nothing but return what is loaded, woken up if it sleeps. With ``replace`` a different engine is unloaded
    first.

    Raises:
        OptionError: an unknown option, or another engine is loaded (says what differs).
        PagednbError: what is wrong with the model or the memory; nothing stays behind.
    """
    from pagednb import runtime
    from pagednb.whole_import import import_whole

    accessor = import_whole("pagednb.dataframe.accessor")  # which needs pandas and numpy
    llm = runtime.load(model, replace=replace, **options)
    accessor.register()
    return llm


def __getattr__(name: str) -> Any:
    if name not in _NAME_TO_MODULE:
        raise AttributeError(f"module 'pagednb' has no attribute {name!r}")
    from pagednb.whole_import import import_whole

    return getattr(import_whole(_NAME_TO_MODULE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext pagednb``."""
    from pagednb.notebook.extension import load_ipython_extension as load_extension

    load_extension(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext pagednb``."""
    from pagednb.notebook.extension import unload_ipython_extension as unload_extension

    unload_extension(shell)

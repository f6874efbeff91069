"""pagednb: a language-model engine that lives inside a notebook kernel.

Importing it does nothing: each name below is imported at its first use, torch with the first model that is loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from pagednb.dataframe.accessor import frame
    from pagednb.llm import LLM
    from pagednb.runtime import load, status, unload
    from pagednb.sampling_params import SamplingParams

__version__ = "0.1.0"
__all__ = ["LLM", "SamplingParams", "frame", "load", "status", "unload"]

_NAME_TO_MODULE = {
    "LLM": "pagednb.llm",
    "SamplingParams": "pagednb.sampling_params",
    "frame": "pagednb.dataframe.accessor",
    "load": "pagednb.runtime",
    "status": "pagednb.runtime",
    "unload": "pagednb.runtime",
}


def __getattr__(name: str) -> Any:
    if name not in _NAME_TO_MODULE:
        raise AttributeError(f"module 'pagednb' has no attribute {name!r}")
    return getattr(importlib.import_module(_NAME_TO_MODULE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext pagednb``."""
    from pagednb.notebook.extension import load_ipython_extension as load_extension

    load_extension(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """``%unload_ext pagednb``."""
    from pagednb.notebook.extension import unload_ipython_extension as unload_extension

    unload_extension(shell)

"""Every error a user can meet, as a sentence with a next step.

Each class also derives from the built-in that its cause suggests, so that ``except ValueError`` keeps working. Surfaces
show ``str(error)``: the sentence, then the hint. Bugs of ours are ``assert``, never a class here.
"""

from __future__ import annotations

import copyreg
import difflib
from collections.abc import Iterable
from typing import Any


class PagednbError(Exception):
    """Base of all errors raised on purpose. ``hint`` says what to do next."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message} {hint}")
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes with everything, past constructors of other signatures."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class OptionError(PagednbError, ValueError):
    """An option has an unknown name or a value out of range."""


class NotSupportedYetError(PagednbError, NotImplementedError):
    """The option or capability is known by name and not built yet."""


class EngineNotLoadedError(PagednbError, RuntimeError):
    """A surface was used before ``pagednb.load``."""


class EngineDeadError(PagednbError, RuntimeError):
    """The engine stopped for good (unloaded, or the device context is lost)."""


class EngineAsleepError(PagednbError, RuntimeError):
    """The engine has given its device back (``sleep``) and answers nothing until it is woken up."""


class EngineBusyError(PagednbError, RuntimeError):
    """What was asked of the engine cannot be done while requests are under way."""


class EngineStepError(PagednbError, RuntimeError):
    """A step of the engine failed; the requests in flight were lost, the engine answers the next ones."""


class ModelLoadError(PagednbError, OSError):
    """The model folder, its config or its weights cannot be used."""


class UnsupportedArchitectureError(ModelLoadError):
    """No decoder spec is registered for the checkpoint's architecture."""


class WeightError(ModelLoadError):
    """A tensor is missing, surplus, misshapen, or its file is truncated."""


class GPUMemoryError(PagednbError, MemoryError):
    """Too little device memory: the message says what is needed, what is free and who holds it."""


class ContextLengthError(PagednbError, ValueError):
    """A prompt, or prompt plus ``max_tokens``, does not fit the model or the KV cache."""


class PromptError(PagednbError, ValueError):
    """A prompt is malformed: empty, of a wrong type, or with token ids outside the vocabulary."""


class TemplateError(PagednbError, ValueError):
    """A template names a column or variable that does not exist."""


class SchemaError(PagednbError, ValueError):
    """A schema cannot be read, or holds what cannot be enforced; the place is named."""


class RequestCancelledError(PagednbError):
    """The request was aborted before it finished."""


class BenchmarkError(PagednbError, RuntimeError):
    """A benchmark's figures would mean nothing: the engine did not do what was timed, or there was too little of it."""


class CheckpointError(PagednbError, ValueError):
    """A checkpoint folder belongs to another run, or cannot be read or written."""


class ChatFileError(PagednbError, ValueError):
    """A chat's file cannot be read or written, or holds something else."""


class TableFileError(PagednbError, ValueError):
    """A table's file cannot be read or written, or holds something else than its name says."""


class RowErrors(PagednbError):  # noqa: N818  (a collection, not a single error)
    """Rows of a frame failed under ``errors="raise"``; ``frame`` holds them with their reasons."""

    def __init__(self, message: str, *, frame: Any, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.frame = frame


class RowErrorsWarning(UserWarning):
    """Rows of a frame failed under ``errors="coerce"``; shown once a call."""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to ``name``, or None when nothing is close."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return matches[0] if matches else None


def refuse_unknown_options(given: Iterable[str], known: Iterable[str], *, owner: str) -> None:
    """Raise OptionError for the first name in ``given`` that ``known`` lacks, with the nearest known name."""
    known = list(known)
    for name in given:
        if name not in known:
            nearest = nearest_name(name, known)
            hint = f"Did you mean {nearest!r}?" if nearest else f"Known options: {', '.join(sorted(known))}."
            raise OptionError(f"{owner} has no option {name!r}.", hint=hint)

"""The one engine of this process: what ``pagednb.load`` loaded, for magics, frames and everything else.

``_RUNTIME`` is the only module-level mutable of the package.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pagednb.config import EngineConfig
from pagednb.errors import EngineNotLoadedError, OptionError

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine
    from pagednb.engine.status import EngineStatus, NotLoadedStatus
    from pagednb.llm import LLM


Kept = TypeVar("Kept")


class _Runtime:
    """Holds the loaded ``LLM``. Loading and unloading exclude each other; looking never waits.

    ``name_to_kept`` is what surfaces keep for the life of the process, such as computed rows; ``before_unload`` what
    they end with the engine, such as servers.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.llm: LLM | None = None
        self.name_to_kept: dict[str, Any] = {}
        self.before_unload: list[Callable[[], object]] = []


_RUNTIME = _Runtime()


def load(model: str | os.PathLike[str] | None = None, *, replace: bool = False, **options: Any) -> LLM:
    """Load a model for this process and return it; without ``model``, the embedded demonstration model.

    Takes every option of ``LLM``. The same call again does nothing but return what is loaded, woken up if it sleeps.
    With ``replace`` a different engine is unloaded first.

    Raises:
        OptionError: an unknown option, or another engine is loaded (says what differs).
        PagednbError: what is wrong with the model or the memory; nothing stays behind.
    """
    config = EngineConfig.from_options({"model": model, **options})
    with _RUNTIME.lock:
        current = _RUNTIME.llm
        if current is not None and not current.engine.is_over:
            difference = current.engine.config.difference(config)
            if not difference:
                if current.is_sleeping():
                    current.wake_up()
                return current
            if not replace:
                raise _already_loaded(difference)
        unload()
        from pagednb.llm import LLM

        _RUNTIME.llm = LLM(model, **options)
        return _RUNTIME.llm


def unload() -> None:
    """Stop the engine and give its memory back. Does nothing when none is loaded; goes on with what was interrupted."""
    with _RUNTIME.lock:
        llm, _RUNTIME.llm = _RUNTIME.llm, None
        try:
            while _RUNTIME.before_unload:
                end = _RUNTIME.before_unload[-1]
                end()
                _RUNTIME.before_unload.remove(end)  # not earlier: an interrupt may come in the middle of it
            if llm is not None:
                llm.shutdown()
        except BaseException:
            _RUNTIME.llm = llm  # or nothing could ever end it
            raise


def sleep(level: int = 1) -> None:
    """Give the engine's GPU memory back until ``wake_up``; calls raise EngineAsleepError meanwhile, all else stays.

    At level 1 the weights wait in host memory, at level 2 they are dropped and read again.

    Raises:
        EngineNotLoadedError: there is no engine.
        PagednbError: as ``LLM.sleep``.
    """
    _loaded().sleep(level)


def wake_up() -> None:
    """Take the GPU's memory again. Does nothing when awake; a failure or an interrupt leaves the engine asleep.

    Raises:
        EngineNotLoadedError: there is no engine.
        PagednbError: as ``LLM.wake_up``.
    """
    _loaded().wake_up()


def before_unload(end: Callable[[], object]) -> None:
    """Have ``end`` called when the engine of this moment is unloaded, before it stops; again if it was interrupted.

    It must not raise.
    """
    _RUNTIME.before_unload.append(end)


def status() -> EngineStatus | NotLoadedStatus:
    """Return what the engine is doing, as a table; or that none is loaded."""
    from pagednb.engine.status import NotLoadedStatus

    llm = _RUNTIME.llm
    return NotLoadedStatus() if llm is None else llm.status()


def get_engine() -> LLMEngine:
    """Return the loaded engine.

    Raises:
        EngineNotLoadedError: there is none.
    """
    return _loaded().engine


def is_loaded() -> bool:
    """Whether ``load`` was called and ``unload`` was not."""
    return _RUNTIME.llm is not None


def keep(name: str, value: object) -> None:
    """Keep an object under a name for the life of the process, in the place of what was there."""
    _RUNTIME.name_to_kept[name] = value


def kept(name: str, make: Callable[[], Kept]) -> Kept:
    """Return what is kept under a name; made by ``make`` the first time."""
    if name not in _RUNTIME.name_to_kept:
        _RUNTIME.name_to_kept.setdefault(name, make())  # one wins if two threads come at once
    value: Kept = _RUNTIME.name_to_kept[name]
    return value


def _loaded() -> LLM:
    llm = _RUNTIME.llm
    if llm is None:
        raise EngineNotLoadedError("No model is loaded.", hint="Call pagednb.load() or %llm load first.")
    return llm


def _already_loaded(difference: Mapping[str, tuple[Any, Any]]) -> OptionError:
    told = {name: [_told(name, value) for value in pair] for name, pair in difference.items()}
    differing = ", ".join(f"{name}={old} (asked: {new})" for name, (old, new) in told.items())
    return OptionError(
        f"Another engine is loaded: it has {differing}.",
        hint="Call pagednb.unload() first, or pass replace=True (in %llm load: --replace).",
    )


def _told(option: str, value: Any) -> str:
    return "the embedded one" if option == "model" and value is None else repr(value)

"""A film of a run: the engine's status after each step or nearly so, to be looked at afterwards.

For small engines and short runs, as in a lesson or a test: it asks again and again while its block runs, and keeps all.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from pagednb import runtime
from pagednb.engine.status import EngineStatus
from pagednb.monitoring.sampler import JOIN_S

MAX_FRAMES = 10_000
_PAUSE_S = 0.0005


@contextlib.contextmanager
def filming() -> Iterator[list[EngineStatus]]:
    """Give a list that grows by a status with each step of the loaded engine while the block runs.

    Steps that end while a status is on its way are not seen, so neighbours may be a few steps apart. After
    ``MAX_FRAMES`` nothing is added.

    Raises:
        EngineNotLoadedError: there is no engine.
    """
    engine = runtime.get_engine()
    film: list[EngineStatus] = []
    errors: list[Exception] = []
    is_over = threading.Event()

    def roll() -> None:
        try:
            while len(film) < MAX_FRAMES and not is_over.wait(_PAUSE_S):
                status = engine.status()
                if not film or status.num_steps != film[-1].num_steps:
                    film.append(status)
        except Exception as error:  # noqa: BLE001  (thread boundary: raised below)
            errors.append(error)

    camera = threading.Thread(target=roll, name="pagednb-film", daemon=True)
    camera.start()
    try:
        yield film
    finally:
        is_over.set()
        camera.join(JOIN_S)
    if errors:
        raise errors[0]
    film.append(engine.status())

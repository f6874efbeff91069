"""Imports that an interrupt cannot tear.

torch and numpy cannot be imported again after a KeyboardInterrupt in the middle: the next try fails or takes the kernel
down. What a cell runs first imports them this way. Knows no module by name.
"""

from __future__ import annotations

import importlib
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from types import ModuleType

from pagednb.interrupts import keeping_interrupts

POLL_S = 0.1
"""An interrupt that was made by another thread is heard between two waits only."""


def import_whole(name: str) -> ModuleType:
    """Import a module; an interrupt ends the waiting at once and not the import, which the next call waits for.

    Only the main thread is ever interrupted, so that the import runs on another one. Raises what the import raises.
    """
    if threading.current_thread() is not threading.main_thread():
        return importlib.import_module(name)
    importer = ThreadPoolExecutor(1, thread_name_prefix="pagednb import")
    module = importer.submit(importlib.import_module, name)
    try:
        while not module.done():
            with keeping_interrupts():
                wait([module], timeout=POLL_S)
        return module.result()
    finally:
        importer.shutdown(wait=module.done())

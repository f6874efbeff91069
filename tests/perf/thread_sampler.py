"""Where the threads of a process spend their time, by looking at their stacks a thousand times a second.

Unlike cProfile it sees several threads at once, slows short calls down no more than long ones, and counts waiting in C
code for what it is. It looks when it gets the interpreter lock, so C code that keeps the lock is seen once, at its end.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from types import CodeType, FrameType, TracebackType
from typing import Self

_PAUSE_S = 0.001


class ThreadSampler:
    """Samples the given threads within a ``with`` block; ``table`` tells what it saw."""

    def __init__(self, threads: dict[str, int]) -> None:
        """``threads``: identifiers by name."""
        self._threads = threads
        self._own: dict[str, Counter[CodeType]] = {name: Counter() for name in threads}
        self._with_callees: dict[str, Counter[CodeType]] = {name: Counter() for name in threads}
        self._is_over = threading.Event()
        self._worker = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._worker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_over.set()
        self._worker.join()

    def table(self, num_functions: int) -> str:
        """Return the functions that each thread was seen in most: share of samples alone, and with callees."""
        lines = []
        for name, own in self._own.items():
            total = max(1, own.total())
            lines.append(f"{name}: {total} samples; own and with callees, % of samples")
            both = self._with_callees[name]
            first = dict.fromkeys(code for code, _ in own.most_common(num_functions))
            first |= dict.fromkeys(code for code, _ in both.most_common(num_functions))
            for code in sorted(first, key=lambda code: -both[code]):
                where = f"{code.co_filename.rpartition('site-packages/')[2][-44:]}:{code.co_firstlineno}"
                share, share_both = 100 * own[code] / total, 100 * both[code] / total
                lines.append(f"  {share:6.1f} {share_both:6.1f}  {code.co_qualname:<48} {where}")
        return "\n".join(lines)

    def _look(self) -> None:
        while not self._is_over.is_set():
            frames = sys._current_frames()
            for name, thread in self._threads.items():
                self._note(name, frames.get(thread))
            del frames
            time.sleep(_PAUSE_S)

    def _note(self, name: str, frame: FrameType | None) -> None:
        if frame is None:
            return
        self._own[name][frame.f_code] += 1
        seen: set[CodeType] = set()
        while frame is not None:
            seen.add(frame.f_code)
            frame = frame.f_back
        self._with_callees[name].update(seen)

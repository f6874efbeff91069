"""Progress bars of loading and of ``LLM.generate``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from pagednb.engine.bar import Bar
from pagednb.outputs import RequestOutput

LOAD_DELAY_S = 1.0
"""A load that is over sooner shows no bar: nobody could read it, and it would stay below the cell."""


@contextlib.contextmanager
def load_bar(*, is_shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what to call with (bytes loaded, bytes in all), or None when no bar is wanted.

    The bar appears with the first call: a mistake in the options shows nothing but its error.
    """
    if not is_shown:
        yield None
        return
    with contextlib.ExitStack() as stack:
        bar: Bar | None = None

        def show(num_done: int, num_total: int) -> None:
            nonlocal bar
            if bar is None:
                layout = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
                bar = Bar(total=num_total, desc="Loading weights", delay=LOAD_DELAY_S, **layout)
                stack.enter_context(bar)
            bar.show(num_done)

        yield show


@contextlib.contextmanager
def prompt_bar(num_prompts: int, *, is_shown: bool) -> Iterator[Callable[[list[RequestOutput]], None] | None]:
    """Yield what to call with finished outputs, or None when no bar is wanted."""
    if not is_shown:
        yield None
        return
    start_s = time.perf_counter()
    num_done = num_in = num_out = 0
    with Bar(total=num_prompts, desc="Processed prompts", unit="prompt") as bar:

        def show(finished: list[RequestOutput]) -> None:
            nonlocal num_done, num_in, num_out
            num_done += len(finished)
            num_in += sum(len(output.prompt_token_ids) for output in finished)
            num_out += sum(len(completion.token_ids) for output in finished for completion in output.outputs)
            seconds = max(time.perf_counter() - start_s, 1e-9)
            bar.show(num_done, f"{num_in / seconds:,.0f} tok/s in, {num_out / seconds:,.0f} out")

        yield show

"""Progress bars of loading and of ``LLM.generate``. tqdm is imported when a bar is shown."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from pagednb.outputs import RequestOutput


@contextlib.contextmanager
def load_bar(*, is_shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what to call with (bytes loaded, bytes in all), or None when no bar is wanted.

    The bar appears with the first call: a mistake in the options shows nothing but its error.
    """
    if not is_shown:
        yield None
        return
    with contextlib.ExitStack() as stack:
        bar: Any = None

        def show(num_done: int, num_total: int) -> None:
            nonlocal bar
            if bar is None:
                bar = _new_bar(total=num_total, desc="Loading weights", unit="B", unit_scale=True, unit_divisor=1024)
                stack.enter_context(bar)
            bar.update(num_done - bar.n)

        yield show


@contextlib.contextmanager
def prompt_bar(num_prompts: int, *, is_shown: bool) -> Iterator[Callable[[list[RequestOutput]], None] | None]:
    """Yield what to call with finished outputs, or None when no bar is wanted."""
    if not is_shown:
        yield None
        return
    start_s = time.perf_counter()
    num_in = num_out = 0
    with _new_bar(total=num_prompts, desc="Processed prompts", unit="prompt") as bar:

        def show(finished: list[RequestOutput]) -> None:
            nonlocal num_in, num_out
            num_in += sum(len(output.prompt_token_ids) for output in finished)
            num_out += sum(len(completion.token_ids) for output in finished for completion in output.outputs)
            seconds = max(time.perf_counter() - start_s, 1e-9)
            bar.set_postfix_str(f"{num_in / seconds:,.0f} tok/s in, {num_out / seconds:,.0f} out", refresh=False)
            bar.update(len(finished))

        yield show


def _new_bar(**options: Any) -> Any:
    from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # tqdm's monitor is a thread that outlives the bar; a guest leaves none behind

    return Bar(dynamic_ncols=True, **options)

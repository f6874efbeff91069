"""Many prompts through one call: as many at a time as keep the engine busy, the rest as places become free.

A thread that makes requests of thousands at once would take the interpreter lock from the engine's launches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from pagednb.engine.call import Call
from pagednb.engine.checked_prompts import CheckedPrompt
from pagednb.outputs import RequestOutput

OnOutputs = Callable[[list[RequestOutput]], None]


def generate_batch(
    call: Call[int],
    checked: Iterator[list[CheckedPrompt]],
    num_prompts: int,
    *,
    max_pending: int,
    progress: OnOutputs | None,
) -> list[RequestOutput]:
    """Return the outputs of ``checked``, keys 0 to ``num_prompts`` - 1, in that order.

    The engine gets more while fewer than ``max_pending`` are under way; ``progress`` gets outputs as they finish.
    Raises what ``checked`` does, and as ``Call.submit_all`` and ``Call.poll``.
    """
    outputs: dict[int, RequestOutput] = {}
    waiting: deque[list[CheckedPrompt]] = deque()

    def hand_over() -> None:
        while waiting and call.num_pending < max_pending:
            call.submit_all(waiting.popleft())

    def collect(finished: Iterable[tuple[int, RequestOutput]]) -> None:
        news = dict(finished)
        outputs.update(news)
        if progress is not None and news:
            progress(list(news.values()))

    for batch in checked:
        waiting.append(batch)
        hand_over()
        collect(call.poll(0))
    while waiting or call.num_pending:
        collect(call.poll())
        hand_over()
    return [outputs[index] for index in range(num_prompts)]

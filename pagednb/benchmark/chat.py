"""A chat as its reader meets it: streamed turns, one after another, each arrival of tokens timed.

The reader is the calling thread. Several tokens may arrive together (the engine may compute several a step, the reader
may be late): that is one arrival, and the gap before it is what a person sees.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence

from pagednb.benchmark.batch_run import check_num_tokens, sampling_params
from pagednb.benchmark.figures import percentile
from pagednb.benchmark.workloads import TimedRequest
from pagednb.engine.llm_engine import LLMEngine
from pagednb.errors import BenchmarkError


@dataclasses.dataclass(frozen=True, slots=True)
class ChatTurn:
    """One streamed answer, or the part of it that was read.

    Attributes:
        asked_s: when it was submitted.
        arrivals_s: when tokens arrived.
        num_tokens: how many arrived in all.
    """

    asked_s: float
    arrivals_s: tuple[float, ...]
    num_tokens: int

    @property
    def gaps_s(self) -> list[float]:
        """Seconds between arrivals."""
        return [b - a for a, b in zip(self.arrivals_s, self.arrivals_s[1:], strict=False)]


@dataclasses.dataclass(frozen=True, slots=True)
class Chat:
    """Several turns, as figures.

    Raises:
        BenchmarkError: too little was read: not one turn got two arrivals.
    """

    turns: Sequence[ChatTurn]

    def __post_init__(self) -> None:
        if not any(turn.gaps_s for turn in self.turns):
            raise BenchmarkError("The chat was over before its second token came.", hint="Give it longer: more --rows.")

    @property
    def tokens_per_s(self) -> float:
        """Tokens read over the time that was spent asking and reading."""
        seconds = sum(turn.arrivals_s[-1] - turn.asked_s for turn in self.turns if turn.arrivals_s)
        return sum(turn.num_tokens for turn in self.turns) / seconds

    def gap_ms(self, percent: float) -> float | None:
        """Return a percentile of the milliseconds between arrivals."""
        return percentile([1e3 * gap for turn in self.turns for gap in turn.gaps_s], percent)

    def ttft_ms(self, percent: float) -> float | None:
        """Return a percentile of the milliseconds to the first token."""
        return percentile(
            [1e3 * (turn.arrivals_s[0] - turn.asked_s) for turn in self.turns if turn.arrivals_s], percent
        )


def read_turns(
    engine: LLMEngine, requests: Iterable[TimedRequest], *, is_over: Callable[[], bool] = lambda: False
) -> list[ChatTurn]:
    """Ask one request after another until there are no more or ``is_over``; a turn under way is cut short then.

    Raises:
        BenchmarkError: a complete answer has another number of tokens than it was asked for.
    """
    turns = []
    for request in requests:
        turns.append(_read_turn(engine, request, is_over))
        if is_over():
            break
    return turns


def _read_turn(engine: LLMEngine, request: TimedRequest, is_over: Callable[[], bool]) -> ChatTurn:
    arrivals_s: list[float] = []
    num_tokens = 0
    prompt = {"prompt_token_ids": request.prompt_token_ids}
    asked_s = time.perf_counter()
    with contextlib.closing(engine.stream(prompt, sampling_params(request.num_new_tokens))) as stream:
        for output in stream:
            now_s = time.perf_counter()
            if is_over():
                break
            num_now = len(output.outputs[0].token_ids)
            if num_now > num_tokens:
                arrivals_s.append(now_s)
                num_tokens = num_now
            if output.finished:
                check_num_tokens(output, request.num_new_tokens)
    return ChatTurn(asked_s, tuple(arrivals_s), num_tokens)

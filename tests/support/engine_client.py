"""What a thread asks of the rig's engine, whose right answers are known."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

from support.engine_rig import expected_tokens

from pagednb.engine.llm_engine import LLMEngine
from pagednb.sampling_params import SamplingParams


def params(seed: int, max_tokens: int = 20, **options: Any) -> SamplingParams:
    """A request whose tokens ``expected_tokens`` tells from the seed."""
    return SamplingParams(seed=seed, max_tokens=max_tokens, **options)


def answer(engine: LLMEngine, seed: int = 7) -> None:
    """One request that must come out right."""
    (output,) = engine.generate([[5, 6, 7]], params(seed))
    assert output.outputs[0].token_ids == expected_tokens(seed, 3, 20)


def engine_threads() -> list[threading.Thread]:
    """The threads of all engines that live."""
    return [thread for thread in threading.enumerate() if thread.name == "pagednb-engine"]


class Client:
    """One thread's mixed traffic, reproducible by its number."""

    def __init__(self, engine: LLMEngine, number: int) -> None:
        self.engine = engine
        self.random = random.Random(number)

    def run(self) -> int:
        for _ in range(12):
            self.random.choice([self.batch, self.stream, self.abandon, self.window, self.samples])()
        return 12

    def request(self) -> tuple[list[int], SamplingParams, tuple[int, ...]]:
        length, seed, new = self.random.randint(1, 40), self.random.randrange(10**6), self.random.randint(1, 40)
        return [5] * length, params(seed, new), expected_tokens(seed, length, new)

    def batch(self) -> None:
        prompts, all_params, expected = zip(*(self.request() for _ in range(self.random.randint(1, 8))), strict=True)
        outputs = self.engine.generate(prompts, all_params)
        assert [output.outputs[0].token_ids for output in outputs] == list(expected)

    def stream(self) -> None:
        prompt, request_params, expected = self.request()
        steps = list(self.engine.stream(prompt, request_params))
        assert all(step.outputs[0].token_ids == expected[: len(step.outputs[0].token_ids)] for step in steps)
        assert steps[-1].finished
        assert steps[-1].outputs[0].token_ids == expected

    def abandon(self) -> None:
        with self.engine.open_call() as call:
            for key in range(self.random.randint(1, 6)):
                prompt, request_params, _ = self.request()
                call.submit(key, prompt, request_params)
            call.poll(self.random.choice([0, 0.001, 0.01]))

    def window(self) -> None:
        expected = {}
        with self.engine.open_call(priority=self.random.randint(-1, 1)) as call:
            for key in range(12):
                prompt, request_params, expected[key] = self.request()
                call.submit(key, prompt, request_params)
                while call.num_pending > 3:
                    self.check(call.poll(), expected)
            self.check(call.results(), expected)
        assert not expected

    def samples(self) -> None:
        prompt, _, _ = self.request()
        (output,) = self.engine.generate([prompt], params(3, 9, n=3))
        assert [o.token_ids for o in output.outputs] == [expected_tokens(3 + i, len(prompt), 9) for i in range(3)]

    @staticmethod
    def check(results: Any, expected: dict[int, tuple[int, ...]]) -> None:
        for key, output in results:
            assert output.outputs[0].token_ids == expected.pop(key)


def raiser(error: Exception) -> Callable[[], None]:
    """A ``before_step`` that fails."""

    def fault() -> None:
        raise error

    return fault

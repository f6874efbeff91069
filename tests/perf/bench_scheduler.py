"""What a step costs on the host: ``python tests/perf/bench_scheduler.py``, no model, no device.

The engine thread's own work: requests come in, a plan is made, what it changes is packed, tokens are noted. Steady
batches only decode. In the others a tenth of the rows ends in every step, and as many prompts come in, with prompts of
150 to 700 tokens, after a common prefix of 512 or without one. The cache is full of old prefixes, as it is in long
runs. Prints milliseconds and calls per step; ``--profile`` adds the functions that took the most time.
"""

from __future__ import annotations

import argparse
import cProfile
import dataclasses
import gc
import itertools
import pstats
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from pagednb.config import CacheGeometry, SchedulerConfig
from pagednb.engine.input_processor import InputProcessor
from pagednb.engine.token_prompt import TokenPrompt
from pagednb.request import Request
from pagednb.runner.plan_diff import send_diff
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.output import RunnerOutput, SchedulerOutput
from pagednb.scheduler.scheduler import Scheduler

BLOCK_SIZE = 16
MAX_MODEL_LEN = 4096
VOCAB_SIZE = 150_000
ROWS_PER_NEWCOMER = 10
PARTS = ("add", "schedule", "pack", "update")


@dataclasses.dataclass(frozen=True)
class Traffic:
    """``num_newcomers`` rows end in each step and are followed by others."""

    num_rows: int
    num_newcomers: int
    num_prefix_tokens: int

    @property
    def name(self) -> str:
        if not self.num_newcomers:
            return f"{self.num_rows} rows, steady"
        return f"{self.num_rows} rows, {self.num_newcomers} new, prefix {self.num_prefix_tokens}"


class Driver:
    """A scheduler, kept full; the executor's tokens end nothing."""

    def __init__(self, traffic: Traffic) -> None:
        geometry = CacheGeometry(
            num_blocks=1 + traffic.num_rows * 80, block_size=BLOCK_SIZE, max_model_len=MAX_MODEL_LEN
        )
        config = SchedulerConfig(
            max_num_seqs=traffic.num_rows,
            max_num_batched_tokens=2**20,
            max_model_len=MAX_MODEL_LEN,
            eos_token_ids=(0, 1),
        )
        self.traffic = traffic
        self.scheduler = Scheduler(config, geometry)
        self._processor = InputProcessor(None, geometry, vocab_size=VOCAB_SIZE, seed=0)
        self._random = np.random.default_rng(0)
        self._prefix = self._tokens(traffic.num_prefix_tokens)
        self._table_width = MAX_MODEL_LEN // BLOCK_SIZE
        for row in range(traffic.num_rows):
            num_new = 1 + row // traffic.num_newcomers if traffic.num_newcomers else 3000
            self.scheduler.add(self._request(num_new))

    def newcomers(self) -> list[Request]:
        """Return the requests that come in before a step, as callers hand them over."""
        num_new = self.traffic.num_rows // max(1, self.traffic.num_newcomers)
        return [self._request(num_new) for _ in range(self.traffic.num_newcomers)]

    def add(self, requests: list[Request]) -> None:
        for request in requests:
            self.scheduler.add(request)

    def pack(self, plan: SchedulerOutput) -> None:
        send_diff(plan, torch.device("cpu"), table_width=self._table_width)

    def update(self, plan: SchedulerOutput) -> None:
        updates = self.scheduler.update(plan, RunnerOutput(token_ids=np.full((len(plan.sampled_rows), 1), 2)))
        assert len(updates) <= max(1, self.traffic.num_newcomers) + self.traffic.num_rows % ROWS_PER_NEWCOMER

    def _request(self, num_new: int) -> Request:
        num_own = int(self._random.integers(150, 701)) if self.traffic.num_newcomers else 200
        prompt = TokenPrompt(np.concatenate([self._prefix, self._tokens(num_own)]))
        params = SamplingParams(max_tokens=num_new, temperature=0.0)
        (request,) = self._processor.make_requests(prompt, params, stream=False, priority=0)
        return request

    def _tokens(self, count: int) -> np.ndarray:
        return self._random.integers(2, VOCAB_SIZE, count).astype(np.int32)


class Meter:
    """Seconds and calls of each part of a step; calls are counted in steps of their own, since counting takes time."""

    def __init__(self, driver: Driver, profile: cProfile.Profile | None) -> None:
        self._driver = driver
        self._profile = profile
        self.steps_s: list[dict[str, float]] = []

    def step(self) -> None:
        driver, seconds = self._driver, {}
        requests = driver.newcomers()
        _, seconds["add"] = self._timed(lambda: driver.add(requests))
        plan, seconds["schedule"] = self._timed(driver.scheduler.schedule)
        _, seconds["pack"] = self._timed(lambda: driver.pack(plan))
        _, seconds["update"] = self._timed(lambda: driver.update(plan))
        self.steps_s.append(seconds)

    def count_calls(self) -> int:
        """Return how many Python and C functions one step calls."""
        requests = self._driver.newcomers()

        def work() -> None:
            self._driver.add(requests)
            plan = self._driver.scheduler.schedule()
            self._driver.pack(plan)
            self._driver.update(plan)

        return num_calls(work)

    def _timed(self, work: Callable[[], object]) -> tuple[object, float]:
        if self._profile is not None:
            self._profile.enable()
        begin_s = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - begin_s
        if self._profile is not None:
            self._profile.disable()
        return result, seconds


def num_calls(work: Callable[[], object]) -> int:
    count = itertools.count()

    def see(frame: object, event: str, argument: object) -> None:
        if event in {"call", "c_call"}:
            next(count)

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return next(count)


def measure(traffic: Traffic, num_steps: int, profile: cProfile.Profile | None) -> str:
    """Run one kind of traffic and return its line of the table."""
    driver = Driver(traffic)
    for _ in range(num_steps):  # the cache fills up
        Meter(driver, None).step()
    meter = Meter(driver, profile)
    gc.collect()
    for _ in range(num_steps):
        meter.step()
    medians = {part: float(np.median([seconds[part] for seconds in meter.steps_s])) * 1e3 for part in PARTS}
    total = float(np.median([sum(seconds.values()) for seconds in meter.steps_s])) * 1e3
    cells = "".join(f"{medians[part]:10.3f}" for part in PARTS)
    return f"{traffic.name:<36}{cells}{total:10.3f}{meter.count_calls():10,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--steps", type=int, default=60, help="timed steps; as many go before them")
    parser.add_argument("--profile", type=int, default=0, metavar="N", help="print the N functions that took longest")
    args = parser.parse_args()
    print(f"{'ms per step (median)':<36}{''.join(f'{part:>10}' for part in PARTS)}{'total':>10}{'calls':>10}")
    for num_rows in args.rows:
        num_new = num_rows // ROWS_PER_NEWCOMER
        for traffic in (Traffic(num_rows, 0, 0), Traffic(num_rows, num_new, 0), Traffic(num_rows, num_new, 512)):
            profile = cProfile.Profile() if args.profile else None
            print(measure(traffic, args.steps, profile), flush=True)
            if profile is not None:
                pstats.Stats(profile).sort_stats("tottime").print_stats(args.profile)


if __name__ == "__main__":
    main()

"""A scheduler over the fake executor, driven step by step; every answer is compared with the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
from support.fake_executor import FakeExecutor, tokens_alone

from pagednb.config import CacheGeometry, SchedulerConfig
from pagednb.engine.core import EngineCore
from pagednb.request import FinishReason, Request, RequestUpdate
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.scheduler import Scheduler

EOS = (0, 1)


class Traffic:
    """Adds requests and steps; the books are checked after every step."""

    def __init__(
        self,
        *,
        num_blocks: int = 64,
        block_size: int = 4,
        max_num_seqs: int = 8,
        max_num_batched_tokens: int = 64,
        max_model_len: int = 128,
        enable_prefix_caching: bool = True,
        launch_ahead: int = 0,
        vocab_size: int = 50,
    ) -> None:
        self.geometry = CacheGeometry(num_blocks=num_blocks, block_size=block_size, max_model_len=max_model_len)
        config = SchedulerConfig(
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            max_model_len=max_model_len,
            enable_prefix_caching=enable_prefix_caching,
            eos_token_ids=EOS,
        )
        self.scheduler = Scheduler(config, self.geometry)
        self.executor = FakeExecutor(self.geometry, vocab_size=vocab_size)
        self.core = EngineCore(self.scheduler, self.executor, launch_ahead=launch_ahead)
        self.requests: dict[int, Request] = {}
        self.streamed: dict[int, list[int]] = {}
        self.last_updates: dict[int, RequestUpdate] = {}

    def add(
        self,
        prompt: list[int] | np.ndarray,
        max_tokens: int = 8,
        *,
        priority: int = 0,
        parent_id: int | None = None,
        stream: bool = False,
        cache_salt: bytes = b"",
        **params: Any,
    ) -> int:
        """Submit a request and return its id."""
        request_id = len(self.requests)
        token_ids = np.array(prompt, dtype=np.int32)
        token_ids.setflags(write=False)
        request = Request(
            request_id=request_id,
            prompt_token_ids=token_ids,
            sampling_params=SamplingParams(**params),
            max_tokens=max_tokens,
            seed=request_id,
            priority=priority,
            parent_id=parent_id,
            stream=stream,
            cache_salt=cache_salt,
        )
        self.scheduler.add(request)
        self.requests[request_id] = request
        self.streamed[request_id] = []
        return request_id

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.take(self.core.step())
            self.scheduler.check_integrity()

    def abort(self, request_ids: list[int]) -> None:
        updates = self.scheduler.abort(request_ids)
        assert all(update.finish_reason is FinishReason.ABORT for update in updates)
        self.take(updates)
        self.scheduler.check_integrity()

    def take(self, updates: list[RequestUpdate]) -> None:
        """Note updates, and check what they claim."""
        for update in updates:
            assert update.request_id not in self.last_updates, f"{update.request_id} was heard of after its end"
            request = self.requests[update.request_id]
            if update.new_token_ids:
                assert request.wants_updates and len(update.new_token_ids) == 1
            if request.sampling_params.logprobs is not None:
                assert [-entry.logprob for entry in update.logprobs] == list(update.new_token_ids)
                assert all(len(entry.top_token_ids) == request.sampling_params.logprobs for entry in update.logprobs)
            self.streamed[update.request_id] += update.new_token_ids
            if update.finish_reason is not None:
                self.last_updates[update.request_id] = update

    def finish(self, *, max_steps: int = 20_000) -> None:
        """Run until idle; then every answer is the oracle's and every block is back."""
        for _ in range(max_steps):
            if not self.core.has_work:
                break
            self.step()
        assert not self.core.has_work, f"unfinished after {max_steps} steps"
        assert self.last_updates.keys() == self.requests.keys()
        for request_id in self.requests:
            self.check_answer(request_id)
        assert self.scheduler.stats().num_used_blocks == 0

    def check_answer(self, request_id: int) -> None:
        request, update = self.requests[request_id], self.last_updates[request_id]
        expected, reason = tokens_alone(request, vocab_size=self.executor.vocab_size, eos_token_ids=EOS)
        output = update.output_token_ids.tolist()
        if update.finish_reason is FinishReason.ABORT:
            assert output == expected[: len(output)]
        else:
            assert (output, update.finish_reason) == (expected, reason)
            is_stop_token = reason is FinishReason.STOP and (
                request.sampling_params.ignore_eos or output[-1] not in EOS
            )
            assert update.stop_token_id == (output[-1] if is_stop_token else None)
        if request.wants_updates:
            assert self.streamed[request_id] == output

    def output(self, request_id: int) -> list[int]:
        return self.last_updates[request_id].output_token_ids.tolist()

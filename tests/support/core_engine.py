"""Scheduler, runner and core on a real checkpoint, without thread, tokenizer and text."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from support.fixed_pace import FixedPace

from pagednb.config import EngineConfig
from pagednb.engine.core import EngineCore
from pagednb.engine.token_masks import Fill, TokenMaskBuilder
from pagednb.models.resolve import resolve_model
from pagednb.request import Request, RequestUpdate
from pagednb.runner.factory import build_runner
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.scheduler import Scheduler
from pagednb.structured_output.matcher import TokenGrammar
from pagednb.structured_output.token_rules import TokenRules


class CoreEngine:
    """Runs requests to their end; the books are checked after every step."""

    def __init__(
        self,
        folder: pathlib.Path,
        *,
        launch_ahead: int = 0,
        device: str = "cpu",
        min_shared_prefix_tokens: int | None = None,
        decode_steps: int = 1,
        dtype: str = "float32",
        warms_up: bool = False,
        fill_masks: Fill | None = None,
        append_forced_tokens: bool = True,
        **options: Any,
    ) -> None:
        config = EngineConfig(model=folder, device=device, dtype=dtype, **options)
        resolved = resolve_model(config)
        self.runner = build_runner(config, resolved, warms_up=warms_up)
        limits = dataclasses.replace(
            self.runner.scheduler_config,
            min_shared_prefix_tokens=min_shared_prefix_tokens,
            min_shared_prefix_rows=2,
            append_forced_tokens=append_forced_tokens,
        )
        self.scheduler = Scheduler(limits, self.runner.geometry)
        pacer = FixedPace(max_decode_steps=decode_steps)
        masks = TokenMaskBuilder(
            resolved.spec.vocab_size, launch_ahead=launch_ahead, allocate=self.runner.host_words, fill=fill_masks
        )
        self.core = EngineCore(self.scheduler, self.runner, launch_ahead=launch_ahead, pacer=pacer, token_masks=masks)
        self._num_requests = 0

    def generate(self, prompts: Sequence[Sequence[int]], params: Sequence[SamplingParams]) -> list[RequestUpdate]:
        """Return each request's last update, which holds its whole output."""
        return self.finish([self.add(*pair) for pair in zip(prompts, params, strict=True)])

    def finish(self, ids: Sequence[int]) -> list[RequestUpdate]:
        """Step until the requests have ended; return their last updates."""
        finished: dict[int, RequestUpdate] = {}
        while len(finished) < len(ids):
            assert self.core.has_work
            for update in self.core.step():
                if update.finish_reason is not None:
                    finished[update.request_id] = update
            self.scheduler.check_integrity()
        return [finished[request_id] for request_id in ids]

    def tokens(self, prompts: Sequence[Sequence[int]], params: Sequence[SamplingParams]) -> list[list[int]]:
        """Return each request's output tokens."""
        return [update.output_token_ids.tolist() for update in self.generate(prompts, params)]

    def add(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        parent_id: int | None = None,
        grammar: TokenGrammar | None = None,
        token_rules: TokenRules | None = None,
    ) -> int:
        """Submit one request; its random numbers depend on its prompt length and ``params.seed`` only."""
        self._num_requests += 1
        request = Request(
            request_id=self._num_requests,
            prompt_token_ids=np.array(prompt, dtype=np.int32),
            sampling_params=params,
            max_tokens=params.max_tokens,
            seed=params.seed if params.seed is not None else len(prompt),
            parent_id=parent_id,
            grammar=grammar,
            token_rules=token_rules,
        )
        self.scheduler.add(request)
        return self._num_requests


def crowded_engine(folder: pathlib.Path, **options: Any) -> CoreEngine:
    """An engine with blocks for 96 tokens in all, so that requests wait or are preempted; four decode steps in one."""
    return CoreEngine(folder, max_model_len=96, block_size=4, num_gpu_blocks_override=24, decode_steps=4, **options)

"""Plans written by hand: a runner on a fake decoder, and the bookkeeping a scheduler would do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from support.fake_decoder import VOCAB_SIZE, FakeDecoder

from pagednb.config import CacheGeometry, SchedulerConfig
from pagednb.kernels.kernel_set import torch_kernels
from pagednb.kv_cache.kv_store import KVStore
from pagednb.runner.batch_state import BatchState
from pagednb.runner.device_parts import DeviceParts
from pagednb.runner.isolation import DeviceScope
from pagednb.runner.memory import MemoryReport
from pagednb.runner.model_runner import ModelRunner
from pagednb.sampling.sampler import Sampler
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.output import Admission, BlockGrowth, PrefillChunk, SchedulerOutput

GREEDY = SamplingParams(temperature=0.0)
GEOMETRY = CacheGeometry(num_blocks=40, block_size=4, max_model_len=64)
LIMITS = SchedulerConfig(max_num_seqs=6, max_num_batched_tokens=64, max_model_len=64, eos_token_ids=(0,))
REPORT = MemoryReport(
    device="cpu",
    total_bytes=0,
    used_before_bytes=0,
    weight_bytes=0,
    activation_bytes=0,
    kv_cache_bytes=0,
    num_blocks=39,
)


def make_runner(model: FakeDecoder | None = None, **sampler_options: int) -> ModelRunner:
    """A CPU runner with six rows, 39 usable blocks of 4 tokens."""
    device = torch.device("cpu")
    parts = DeviceParts(
        model=model or FakeDecoder(),
        kv_store=KVStore(1, 1, 2, GEOMETRY, dtype=torch.float32, device=device),
        state=BatchState(LIMITS.max_num_seqs, GEOMETRY, torch_kernels(), device),
        sampler=Sampler(
            torch_kernels(),
            num_rows=LIMITS.max_num_seqs,
            vocab_size=VOCAB_SIZE,
            eos_token_ids=LIMITS.eos_token_ids,
            device=device,
            **sampler_options,
        ),
    )
    return ModelRunner(DeviceScope(device), parts, geometry=GEOMETRY, scheduler_config=LIMITS, memory=REPORT)


def int32(values: Sequence[int]) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def admit(
    row: int,
    tokens: Sequence[int],
    blocks: Sequence[int],
    *,
    params: SamplingParams = GREEDY,
    computed: int = 0,
    num_prompt: int | None = None,
    max_total: int | None = None,
) -> Admission:
    token_ids = int32(tokens)
    token_ids.setflags(write=False)
    return Admission(
        row=row,
        token_ids=token_ids,
        num_prompt_tokens=len(tokens) if num_prompt is None else num_prompt,
        num_computed_tokens=computed,
        max_total_tokens=GEOMETRY.max_model_len if max_total is None else max_total,
        block_ids=int32(blocks),
        sampling_params=params,
        seed=2**64 - 1 - row,
    )


def chunk(row: int, tokens: Sequence[int], start: int = 0, *, samples: bool = True) -> PrefillChunk:
    """Tokens ``start:`` of ``tokens`` as a prefill chunk."""
    return PrefillChunk(row=row, start=start, token_ids=int32(tokens[start:]), samples=samples)


def grow(*entries: tuple[int, int, int]) -> BlockGrowth:
    rows, columns, block_ids = zip(*entries, strict=True)
    return BlockGrowth(rows=int32(rows), columns=int32(columns), block_ids=int32(block_ids))


def plan(
    *,
    decode: Sequence[int] = (),
    prefills: Sequence[PrefillChunk] = (),
    released: Sequence[int] = (),
    max_seq_len: int = 64,
    **parts: object,
) -> SchedulerOutput:
    sampled = [*decode, *(each.row for each in prefills if each.samples)]
    made = SchedulerOutput(
        step=0,
        released_rows=int32(released),
        decode_rows=int32(decode),
        prefills=tuple(prefills),
        sampled_rows=int32(sampled),
        sampled_request_ids=np.array(sampled, dtype=np.int64),
        max_seq_len=max_seq_len,
    )
    return dataclasses.replace(made, **parts)


def run(runner: ModelRunner, made: SchedulerOutput) -> list[int]:
    """Execute and read at once."""
    return runner.execute(made).result().token_ids[:, 0].tolist()

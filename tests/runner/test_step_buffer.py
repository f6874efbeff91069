"""A plan's rows and prompt tokens at their fixed place, padded."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from support.plan_writer import chunk, plan

from pagednb.runner.step_buffer import StepBuffer, sampled_positions
from pagednb.runner.step_shape import StepShape
from pagednb.scheduler.output import TokenMasks

SCRATCH = 99
CPU = torch.device("cpu")


def buffer_of(shape: StepShape, num_sampled: int | None = None) -> StepBuffer:
    made = StepBuffer(shape, scratch_row=SCRATCH, device=CPU, num_sampled=num_sampled)
    made.rows.fill_(-1)
    return made


def test_decodes_are_padded_with_scratch():
    made = buffer_of(StepShape(5, 64))
    made.fill(plan(decode=[7, 3, 4]))
    assert made.rows.tolist() == [7, 3, 4, SCRATCH, SCRATCH]
    assert made.chunks is None and made.sampled_seqs is None
    made.fill(plan(decode=[1]))
    assert made.rows.tolist() == [1] + [SCRATCH] * 4


def test_chunks_come_after_the_padded_decodes():
    shape = StepShape(3, 64, num_prefills=4, num_prefill_tokens=9, max_query_len=9)
    made = buffer_of(shape)
    for _ in range(2):
        made.fill(plan(decode=[8, 2], prefills=[chunk(5, [50, 51, 52]), chunk(6, [60, 61], 1, samples=False)]))
        assert made.rows.tolist() == [8, 2, SCRATCH, 5, 6, SCRATCH, SCRATCH]
        assert made.chunks.num_decodes == 3
        assert made.chunks.query_start_loc.tolist() == [0, 1, 2, 3, 6, 7, 7, 7]
        assert made.chunks.token_ids.tolist() == [50, 51, 52, 61, 0, 0, 0, 0, 0]
        assert made.chunks.token_ids.dtype == made.chunks.query_start_loc.dtype == torch.int32
        made.fill(plan(decode=[1], prefills=[chunk(0, list(range(9)))]))
        assert made.chunks.query_start_loc.tolist() == [0, 1, 2, 3, 12, 12, 12, 12]


def test_only_chunks_that_end_their_prompt_are_sampled():
    made = plan(decode=[8, 2], prefills=[chunk(5, [50, 51], samples=False), chunk(6, [60]), chunk(1, [70])])
    assert sampled_positions(made, first_chunk=4).tolist() == [0, 1, 5, 6]
    exact = buffer_of(StepShape.of(made, has_filters=False), num_sampled=4)
    exact.fill(made)
    assert exact.sampled_seqs.tolist() == [0, 1, 3, 4]


def test_rows_that_stay_are_not_sent_again():
    made, steady = buffer_of(StepShape(3, 64)), plan(decode=[7, 3])
    steady.decode_rows.setflags(write=False)
    made.fill(steady)
    made.rows.fill_(-1)
    made.fill(dataclasses.replace(steady, step=1))
    assert made.rows.tolist() == [-1] * 3, "the same array, which nobody can have written"
    made.fill(plan(decode=[7, 3]))
    assert made.rows.tolist() == [7, 3, SCRATCH], "an array that could have changed"
    rows = np.array([7, 4], dtype=np.int32)
    rows.setflags(write=False)
    made.fill(dataclasses.replace(steady, decode_rows=rows))
    assert made.rows.tolist() == [7, 4, SCRATCH]
    made.fill(steady)
    assert made.rows.tolist() == [7, 3, SCRATCH]


def test_masks_belong_to_the_sampled_sequences():
    chunks = [chunk(5, [50, 51], samples=False), chunk(6, [60]), chunk(1, [70])]
    masks = TokenMasks(sample_positions=np.array([1, 3], dtype=np.int32), words=np.ones((2, 4), dtype=np.int32))
    made = plan(decode=[8, 2], prefills=chunks, token_masks=masks)
    exact = StepShape.of(made, has_filters=False)
    assert exact.has_token_masks and not StepShape.of(plan(decode=[1]), has_filters=False).has_token_masks
    sampled = buffer_of(exact, num_sampled=4)
    sampled.fill(made)
    assert sampled.mask_rows.tolist() == [-1, 0, -1, 1]
    padded = buffer_of(exact._replace(num_decodes=4, num_prefills=5, num_prefill_tokens=9))
    padded.fill(made)
    assert padded.mask_rows.tolist() == [-1, 0, -1, -1, -1, -1, 1, -1, -1]
    padded.fill(plan(decode=[8, 2], prefills=chunks))
    assert padded.mask_rows.tolist() == [-1] * 9
    assert buffer_of(exact._replace(has_token_masks=False)).mask_rows is None


def test_rows_that_stay_are_sent_again_when_their_masks_change():
    made, decodes = buffer_of(StepShape(3, 64, has_token_masks=True)), plan(decode=[7, 3])
    decodes.decode_rows.setflags(write=False)
    for position in (1, 0):
        masks = TokenMasks(sample_positions=np.array([position], dtype=np.int32), words=np.ones((1, 4), dtype=np.int32))
        made.fill(dataclasses.replace(decodes, token_masks=masks))
        assert made.mask_rows.tolist() == [-1 + (position == 0), -1 + (position == 1), -1]
        made.fill(decodes)
        assert made.mask_rows.tolist() == [-1, -1, -1]

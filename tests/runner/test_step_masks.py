"""Masks in a whole step: the eager step and the one that graphs capture obey them alike, padding or not."""

from __future__ import annotations

import numpy as np
import pytest
from support.fake_decoder import VOCAB_SIZE, continuation
from support.plan_writer import admit, chunk, make_runner, plan, run

from pagednb.runner.device_parts import DeviceParts
from pagednb.runner.step import StepTokens, run_plain
from pagednb.runner.step_buffer import StepBuffer, sampled_positions
from pagednb.runner.step_shape import StepShape
from pagednb.scheduler.output import SchedulerOutput, TokenMasks

PROMPTS = {0: [5, 6, 7], 3: [8], 1: list(range(20, 29))}


def only(*token_ids: int) -> np.ndarray:
    """The mask that allows these tokens."""
    bits = np.zeros(-(-VOCAB_SIZE // 32) * 32, dtype=np.uint8)
    bits[list(token_ids)] = 1
    return np.packbits(bits, bitorder="little").view(np.int32)


def masks(words: dict[int, np.ndarray]) -> TokenMasks:
    return TokenMasks(sample_positions=np.array(list(words), dtype=np.int32), words=np.stack(list(words.values())))


def mixed_plan() -> tuple[SchedulerOutput, list[int]]:
    """Rows 0 and 3 decode, row 1 ends its prompt, row 4 does not; what each must sample."""
    newcomers = (admit(1, PROMPTS[1], [7, 8, 9]), admit(4, list(range(8)), [10, 11]))
    made = plan(
        admissions=newcomers,
        decode=[0, 3],
        prefills=[chunk(4, list(range(6)), samples=False), chunk(1, PROMPTS[1])],
        token_masks=masks({0: only(90, 99), 2: only(77)}),
    )
    return made, [99, continuation(PROMPTS[3], 2)[1], 77]


def prefilled(**options: int):
    runner = make_runner(**options)
    blocks = {0: [3, 4], 3: [5]}
    admissions = tuple(admit(row, PROMPTS[row], blocks[row]) for row in blocks)
    run(runner, plan(admissions=admissions, prefills=[chunk(row, PROMPTS[row]) for row in blocks]))
    return runner


@pytest.mark.parametrize("chunk_rows", [1, 2, 64])
def test_an_eager_step_obeys_its_masks_and_the_next_is_free(chunk_rows: int) -> None:
    runner = prefilled(logits_chunk_bytes=chunk_rows * VOCAB_SIZE * 4)
    made, expected = mixed_plan()
    assert run(runner, made) == expected
    after = [PROMPTS[0] + continuation(PROMPTS[0], 1) + [99], PROMPTS[1] + [77]]
    assert run(runner, plan(decode=[0, 1])) == [continuation(tokens, 1)[0] for tokens in after]


class PaddedSteps:
    """Stands in for ``StepGraphs``: runs what they capture, in a step that is too large."""

    def __init__(self, parts: DeviceParts) -> None:
        self._parts = parts

    def run(self, made: SchedulerOutput, exact: StepShape) -> StepTokens:
        shape = exact._replace(num_decodes=5, num_prefills=3, num_prefill_tokens=20, has_token_masks=True)
        buffer = StepBuffer(shape, scratch_row=self._parts.state.scratch_row, device=self._parts.state.device)
        buffer.fill(made)
        return StepTokens(run_plain(self._parts, buffer, shape), where=sampled_positions(made, first_chunk=5))


@pytest.mark.parametrize("chunk_rows", [1, 2, 64])
def test_the_step_that_a_graph_captures_does_the_same(chunk_rows: int) -> None:
    runner = prefilled(logits_chunk_bytes=chunk_rows * VOCAB_SIZE * 4)
    made, expected = mixed_plan()
    runner.graphs = PaddedSteps(runner._live_parts())
    assert run(runner, made) == expected
    assert run(runner, plan(decode=[1])) == continuation(PROMPTS[1] + [77], 1)

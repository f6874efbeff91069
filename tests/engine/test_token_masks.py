"""Masks of plans that are still on their way are not written to."""

from __future__ import annotations

import numpy as np
import pytest
from support.fake_grammar import FakeGrammar, fill_fakes
from support.traffic import make_request

from pagednb.engine.token_masks import TokenMaskBuilder
from pagednb.scheduler.constrained_rows import ConstrainedSample
from pagednb.scheduler.output import SchedulerOutput

VOCAB_SIZE = 70


def constrained(request_id: int, *, fails: bool = False) -> ConstrainedSample:
    grammar = FakeGrammar(VOCAB_SIZE, eos=0, key=request_id, fails_after=0 if fails else None)
    return ConstrainedSample(request_id, make_request(request_id, [1], grammar=grammar), np.empty(0, dtype=np.int32))


@pytest.mark.parametrize("launch_ahead", [0, 1, 3])
def test_masks_rest_while_their_plan_is_in_flight(launch_ahead: int) -> None:
    builder = TokenMaskBuilder(VOCAB_SIZE, launch_ahead=launch_ahead, fill=fill_fakes)
    in_flight: list[tuple[np.ndarray, np.ndarray]] = []
    for step, num_rows in enumerate([3, 1, 9, 4, 2, 17, 17, 1, 5]):
        samples = [constrained(100 * step + row) for row in range(num_rows)]
        plan, failed = builder.with_masks(SchedulerOutput(step=step), samples)
        assert not failed and plan.token_masks is not None
        words = plan.token_masks.words
        assert words.shape == (num_rows, 3)
        in_flight = [*in_flight, (words, words.copy())][-launch_ahead - 1 :]
        assert all(np.array_equal(now, then) for now, then in in_flight)


def test_a_failed_row_may_sample_anything_and_is_named_once() -> None:
    builder = TokenMaskBuilder(VOCAB_SIZE, fill=fill_fakes)
    plan, failed = builder.with_masks(SchedulerOutput(step=1), [constrained(3), constrained(4, fails=True)])
    assert failed == [4] and plan.token_masks is not None
    assert (plan.token_masks.words[1] == -1).all() and not (plan.token_masks.words[0] == -1).all()

"""When a graph is captured, and what stands in for it: decided without a GPU."""

from __future__ import annotations

from pagednb.runner.capture_policy import CAPTURE_AFTER, CapturePolicy
from pagednb.runner.step_shape import GraphShapes, StepShape


def decodes(num_decodes: int, context: int = 1024, **fields: int) -> StepShape:
    return StepShape(num_decodes, context, **fields)


def prompt(num_tokens: int, num_decodes: int = 0) -> StepShape:
    return decodes(num_decodes, num_prefills=1, num_prefill_tokens=num_tokens, max_query_len=num_tokens)


def test_a_shape_is_captured_when_it_has_been_wanted_often_enough():
    policy, shape = CapturePolicy(), decodes(8)
    answers = [policy.should_capture(shape, []) for _ in range(CAPTURE_AFTER)]
    assert answers == [False] * (CAPTURE_AFTER - 1) + [True]
    assert not policy.should_capture(decodes(4), [shape]), "shapes are counted apart"


def test_a_draining_batch_captures_nothing_that_it_only_passes():
    policy, captured = CapturePolicy(), []
    made = GraphShapes(max_num_seqs=512, max_model_len=4096, max_mixed_tokens=0)
    for num_seqs in range(512, 0, -16):
        shape = made.fit(decodes(num_seqs, 700))
        if shape not in captured and policy.should_capture(shape, captured):
            captured.append(shape)
    assert [shape.num_decodes for shape in captured] == [512, 384, 256, 192], (
        "the rest was wanted less than three times"
    )


def test_the_smallest_graph_that_covers_a_shape_stands_in():
    policy, wanted = CapturePolicy(), decodes(16)
    useless = [
        decodes(8),  # too narrow
        decodes(48),  # too wide
        decodes(16, has_filters=True),
        decodes(16, num_steps=2),
        prompt(16, num_decodes=16),
    ]
    assert policy.stand_in(wanted, useless) is None
    longer = decodes(16, 4096)
    assert policy.stand_in(wanted, [*useless, decodes(32), longer]) == longer
    assert policy.stand_in(decodes(16, 8192), [longer]) is None, "too short"


def test_the_least_tokens_stand_in_for_a_prompt():
    graphs = [prompt(256), prompt(128, num_decodes=64), prompt(128, num_decodes=8), decodes(512)]
    assert CapturePolicy().stand_in(prompt(128), graphs) == prompt(128, num_decodes=8)


def test_graphs_are_bounded_in_number():
    policy = CapturePolicy(max_graphs=2)
    captured = [decodes(1), decodes(2)]
    assert not any(policy.should_capture(decodes(4), captured) for _ in range(9))
    assert policy.should_capture(decodes(4), captured[:1])
    policy.stop()
    assert not policy.should_capture(decodes(4), [])

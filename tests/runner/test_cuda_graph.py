"""Which graph serves a step, and when one is captured: decided without a GPU."""

from __future__ import annotations

import pytest

from pagednb.runner.cuda_graph import CAPTURE_AFTER, CapturePolicy, GraphKey, GraphShapes


def shapes(max_num_seqs: int = 512, max_model_len: int = 131072) -> GraphShapes:
    return GraphShapes(max_num_seqs=max_num_seqs, max_model_len=max_model_len)


@pytest.mark.parametrize("max_num_seqs", [1, 3, 8, 20, 64, 300, 512, 513, 2000])
def test_every_batch_fits_a_shape_that_is_not_much_too_large(max_num_seqs):
    made = shapes(max_num_seqs)
    assert made.batch_sizes[-1] == max_num_seqs
    assert list(made.batch_sizes) == sorted(set(made.batch_sizes))
    for num_seqs in range(1, max_num_seqs + 1):
        key = made.key(num_seqs, 100, has_filters=False)
        assert num_seqs <= key.num_seqs <= max_num_seqs
        assert key.num_seqs < 2 * num_seqs or key.num_seqs <= 8
        assert made.key(key.num_seqs, 100, has_filters=False) == key


@pytest.mark.parametrize(
    ("max_seq_len", "max_model_len", "context"),
    [
        (1, 4096, 1024),
        (1024, 4096, 1024),
        (1025, 4096, 2048),
        (2049, 4096, 4096),
        (2049, 3000, 3000),
        (3000, 3000, 3000),
        (5, 128, 128),
    ],
)
def test_contexts_round_up_to_powers_of_two_within_the_models_length(max_seq_len, max_model_len, context):
    assert shapes(max_model_len=max_model_len).key(1, max_seq_len, has_filters=True) == GraphKey(1, context, True)


@pytest.mark.parametrize("max_model_len", [1024, 20_000, 40_960, 100_000, 131_072])
def test_the_attention_kernel_splits_a_sequence_as_in_the_eager_step(max_model_len):
    decode_splits = pytest.importorskip("pagednb.kernels.paged_decode_attention").decode_splits
    made = shapes(max_model_len=max_model_len)
    for max_seq_len in range(1, max_model_len + 1, 61):
        context = made.key(1, max_seq_len, has_filters=False).context
        assert decode_splits(context)[0] == decode_splits(max_seq_len)[0]


def test_a_shape_is_captured_when_it_has_been_wanted_often_enough():
    policy, key = CapturePolicy(), GraphKey(8, 1024, False)
    answers = [policy.should_capture(key, []) for _ in range(CAPTURE_AFTER)]
    assert answers == [False] * (CAPTURE_AFTER - 1) + [True]
    assert not policy.should_capture(GraphKey(4, 1024, False), [key]), "shapes are counted apart"


def test_a_draining_batch_captures_nothing_that_it_only_passes():
    policy, made, captured = CapturePolicy(), shapes(), []
    for num_seqs in range(512, 0, -16):
        key = made.key(num_seqs, 700, has_filters=False)
        if key not in captured and policy.should_capture(key, captured):
            captured.append(key)
    assert [key.num_seqs for key in captured] == [512, 384, 256, 192], "the rest was wanted less than three times"


def test_the_smallest_graph_that_covers_a_shape_stands_in():
    policy, wanted = CapturePolicy(), GraphKey(16, 1024, False)
    useless = [
        GraphKey(8, 1024, False),  # too narrow
        GraphKey(48, 1024, False),  # too wide
        GraphKey(16, 1024, True),  # looks for filters
    ]
    assert policy.stand_in(wanted, useless) is None
    longer = GraphKey(16, 4096, False)
    assert policy.stand_in(wanted, [*useless, GraphKey(32, 1024, False), longer]) == longer
    assert policy.stand_in(GraphKey(16, 8192, False), [longer]) is None, "too short"


def test_graphs_are_bounded_in_number():
    policy = CapturePolicy(max_graphs=2)
    captured = [GraphKey(1, 1024, False), GraphKey(2, 1024, False)]
    assert not any(policy.should_capture(GraphKey(4, 1024, False), captured) for _ in range(9))
    assert policy.should_capture(GraphKey(4, 1024, False), captured[:1])
    policy.stop()
    assert not policy.should_capture(GraphKey(4, 1024, False), [])

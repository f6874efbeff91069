"""Which graph serves a step: decided without a GPU."""

from __future__ import annotations

import itertools

import pytest

from pagednb.runner.step_shape import GraphShapes, StepShape


def shapes(
    max_num_seqs: int = 512, max_model_len: int = 131072, max_mixed_tokens: int = 3000, **options: bool
) -> GraphShapes:
    return GraphShapes(
        max_num_seqs=max_num_seqs, max_model_len=max_model_len, max_mixed_tokens=max_mixed_tokens, **options
    )


def mixed(num_decodes: int, query_lens: list[int], context: int = 100) -> StepShape:
    return StepShape(
        num_decodes,
        context,
        num_prefills=len(query_lens),
        num_prefill_tokens=sum(query_lens),
        max_query_len=max(query_lens),
    )


@pytest.mark.parametrize("max_num_seqs", [1, 3, 8, 20, 64, 300, 512, 513, 2000])
def test_every_batch_fits_a_shape_that_is_not_much_too_large(max_num_seqs):
    made = shapes(max_num_seqs)
    assert made.batch_sizes[-1] == max_num_seqs
    assert list(made.batch_sizes) == sorted(set(made.batch_sizes))
    for num_seqs in range(1, max_num_seqs + 1):
        shape = made.fit(StepShape(num_seqs, 100))
        assert num_seqs <= shape.num_decodes <= max_num_seqs
        assert shape.num_decodes < 2 * num_seqs or shape.num_decodes <= 8
        assert made.fit(shape) == shape


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
    shape = shapes(max_model_len=max_model_len).fit(StepShape(1, max_seq_len, has_filters=True))
    assert shape == StepShape(1, context, has_filters=True)


@pytest.mark.parametrize("max_model_len", [1024, 20_000, 40_960, 100_000, 131_072])
def test_the_attention_kernel_splits_a_sequence_as_in_the_eager_step(max_model_len):
    decode_splits = pytest.importorskip("pagednb.kernels.paged_decode_attention").decode_splits
    made = shapes(max_model_len=max_model_len)
    for max_seq_len in range(1, max_model_len + 1, 61):
        context = made.fit(StepShape(1, max_seq_len)).context
        assert decode_splits(context)[0] == decode_splits(max_seq_len)[0]


@pytest.mark.parametrize("num_chunks", [1, 2, 8, 9, 20, 33, 64])
@pytest.mark.parametrize("query_len", [1, 2, 3, 7])
def test_many_short_chunks_fit_a_shape_with_fewer_sequences_than_tokens(num_chunks, query_len):
    """As many would mean that every token is sampled, which padding makes untrue."""
    for num_decodes in (0, 5, 60):
        exact = mixed(num_decodes, [query_len] * num_chunks)
        shape = shapes().fit(exact)
        assert shape is not None and shape.covers(exact)
        assert shape.num_seqs < shape.num_tokens


@pytest.mark.parametrize(("num_decodes", "num_steps"), [(1, 2), (3, 4), (5, 8), (64, 2)])
def test_several_steps_run_in_few_sizes(num_decodes, num_steps):
    shape = shapes().fit(StepShape(num_decodes, 100, num_steps=num_steps))
    assert shape.num_steps == num_steps and num_decodes <= shape.num_decodes <= 4 * num_decodes


@pytest.mark.parametrize(("num_decodes", "num_steps"), [(65, 2), (1, 3), (1, 16)])
def test_several_steps_that_no_graph_runs_at_once(num_decodes, num_steps):
    assert shapes().fit(StepShape(num_decodes, 100, num_steps=num_steps)) is None


def test_where_context_costs_little_one_shape_serves_more():
    made = shapes()
    assert {made.fit(StepShape(2, context, num_steps=4)).context for context in (1, 1500, 2048)} == {2048}
    assert {made.fit(mixed(3, [20], context)).context for context in (30, 1500, 4096)} == {4096}
    assert made.fit(mixed(3, [20], 4097)).context == 8192
    assert shapes(max_model_len=500).fit(mixed(3, [20], 40)).context == 500


def test_prefills_fit_shapes_that_hold_them():
    made, seen = shapes(), set()
    queries = ([1], [16], [17], [128], [5, 90, 3], [1] * 9, [300] * 6, [30] * 64, [2048])
    for num_decodes, query_lens in itertools.product((0, 1, 8, 9, 200, 512), queries):
        exact = mixed(num_decodes, query_lens)
        shape = made.fit(exact)
        assert shape.covers(exact) and made.fit(shape) == shape
        least_tokens = max(exact.num_prefill_tokens, shape.num_prefills)
        assert shape.max_query_len == shape.num_prefill_tokens < 2 * least_tokens + 16
        assert (shape.num_decodes == 0) == (num_decodes == 0)
        seen.add(shape)
    assert len(seen) < 50


@pytest.mark.parametrize(
    "exact",
    [mixed(0, [2049]), mixed(0, [1] * 65), mixed(513, [4]), mixed(512, [1600, 900])],
    ids=["too long", "too many", "too many decodes", "the launch is hidden"],
)
def test_large_prefills_are_left_to_the_eager_path(exact):
    assert shapes().fit(exact) is None


def test_the_usual_shapes_are_shapes_that_steps_fit():
    made = shapes(max_num_seqs=20)
    usual = made.usual()
    assert len(usual) == len(set(usual)) and all(made.fit(shape) == shape for shape in usual)
    assert {shape.num_decodes for shape in usual if shape.num_steps == 1} == {0, 1, 2, 4, 8, 16, 20}
    assert {shape.num_steps for shape in usual} == {1, 2, 4, 8}
    assert {shape.context for shape in usual if shape.num_steps == 1 and not shape.num_prefills} == {1024, 2048}
    assert {shape.num_prefill_tokens for shape in usual} == {0, 16, 32, 64, 128, 256, 512}
    small = shapes(max_num_seqs=1, max_model_len=100, max_mixed_tokens=40).usual()
    assert {shape.num_prefill_tokens for shape in small} == {0, 16, 32}


def test_a_group_is_looked_for_where_the_plan_names_one():
    made = shapes(with_shared_prefix=True)
    group = StepShape(100, 600, has_shared_prefix=True)
    assert made.fit(group) == StepShape(128, 1024, has_shared_prefix=True)
    assert [shape.num_decodes for shape in made.usual() if shape.has_shared_prefix] == [512]
    # either graph runs either step: without members it reads what each row has, and a group may go unnoticed
    assert made.fit(group).covers(StepShape(100, 600)) and StepShape(128, 1024).covers(group)


def test_masks_are_applied_where_the_plan_has_some():
    made = shapes()
    masked = StepShape(100, 600, has_token_masks=True)
    assert made.fit(masked) == StepShape(128, 1024, has_token_masks=True)
    assert [shape.num_decodes for shape in made.usual() if shape.has_token_masks] == [512]
    assert made.fit(masked).covers(StepShape(100, 600)) and not StepShape(128, 1024).covers(masked)


def test_what_a_graph_covers():
    graph = shapes().fit(mixed(5, [40, 3]))
    assert graph.covers(mixed(8, [2, 2])) and graph.covers(mixed(0, [64]))
    assert not graph.covers(mixed(9, [2])), "too many decodes"
    assert not graph.covers(mixed(1, [65])), "too many tokens"
    assert not graph.covers(StepShape(5, 100)), "no prefills at all: another kind"
    assert not graph.covers(mixed(1, [2])._replace(has_filters=True))
    assert not StepShape(4, 1024, num_steps=4).covers(StepShape(4, 1024, num_steps=2))

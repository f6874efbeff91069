"""Plans written by hand, run on a decoder that notices every wrong slot, position, table and copy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.fake_decoder import FakeDecoder, continuation, next_token
from support.plan_writer import GREEDY, LIMITS, admit, chunk, grow, make_runner, plan, run

from pagednb.errors import EngineDeadError
from pagednb.sampling_params import SamplingParams

A = [5, 9, 2, 30, 8, 1]
B = [77, 3]
C = [11, 12, 13, 14, 15, 16, 17, 18, 19]


def admit_and_prefill(runner, row, tokens, blocks, **options):
    return run(runner, plan(admissions=(admit(row, tokens, blocks, **options),), prefills=[chunk(row, tokens)]))[0]


def test_prefill_then_decodes_with_growing_blocks():
    runner = make_runner()
    tokens = [admit_and_prefill(runner, 3, A, [7, 2])]
    for step in range(12):
        length = len(A) + step  # tokens computed so far
        growth = {"growth": grow((3, length // 4, 20 + length // 4))} if length % 4 == 0 else {}
        tokens += run(runner, plan(decode=[3], **growth))
    assert tokens == continuation(A, 13)


def test_a_prompt_in_chunks_gives_the_same_token():
    runner = make_runner()
    first = plan(admissions=(admit(0, C, [4]),), prefills=[chunk(0, C[:4], samples=False)])
    assert run(runner, first) == []
    assert run(runner, plan(growth=grow((0, 1, 9)), prefills=[chunk(0, C[:7], 4, samples=False)])) == []
    assert run(runner, plan(growth=grow((0, 2, 3)), prefills=[chunk(0, C, 7)])) == [next_token(C)]


def test_decodes_and_chunks_mix_in_one_step():
    runner = make_runner()
    first = admit_and_prefill(runner, 5, A, [7, 2])
    admit_and_prefill(runner, 2, B, [8])
    mixed = plan(
        decode=[5],
        admissions=(admit(0, C, [10, 11, 12]), admit(4, A, [20, 21]), admit(1, B, [22])),
        prefills=[chunk(0, C[:5], samples=False), chunk(4, A), chunk(1, B)],
    )
    assert run(runner, mixed) == [next_token([*A, first]), next_token(A), next_token(B)]
    assert run(runner, plan(decode=[2, 4], prefills=[chunk(0, C, 5)])) == [
        continuation(B, 2)[1],
        continuation(A, 2)[1],
        next_token(C),
    ]


def test_rows_in_any_order_keep_their_sequences():
    runner = make_runner()
    prompts = {row: [row + 1, 50 + row] for row in range(6)}
    for row, tokens in prompts.items():
        admit_and_prefill(runner, row, tokens, [10 + row])
    outputs = {row: continuation(tokens, 3) for row, tokens in prompts.items()}
    assert run(runner, plan(decode=[4, 0, 2])) == [outputs[row][1] for row in (4, 0, 2)]
    assert run(runner, plan(decode=[5, 1, 3])) == [outputs[row][1] for row in (5, 1, 3)]


def test_a_released_row_is_taken_again_in_the_same_plan():
    runner = make_runner()
    penalised = SamplingParams(temperature=0.0, repetition_penalty=1.5, logprobs=2, top_k=3, logit_bias={1: 1.0})
    admit_and_prefill(runner, 2, A, [7, 2], params=penalised)
    again = plan(released=[2], admissions=(admit(2, B, [3]),), prefills=[chunk(2, B)])
    output = runner.execute(again).result()
    assert output.token_ids.tolist() == [[next_token(B)]]
    assert output.logprobs is None


def test_cached_tokens_are_not_computed_again():
    model = FakeDecoder()
    runner = make_runner(model)
    admit_and_prefill(runner, 0, C, [4, 5, 6])
    other = [*C[:8], 90, 91]
    shared = plan(admissions=(admit(1, other, [4, 5, 9], computed=8),), prefills=[chunk(1, other, 8)])
    assert run(runner, shared) == [next_token(other)]
    assert model.batches[-1].input_ids.tolist() == [90, 91]
    assert model.batches[-1].positions.tolist() == [8, 9]


def test_copy_on_write_leaves_the_source_alone():
    runner = make_runner()
    first = admit_and_prefill(runner, 0, A, [7, 2])
    fork = plan(
        admissions=(admit(1, A, [7, 2], computed=5),),
        growth=grow((1, 1, 15)),
        block_copies=((2, 15),),
        prefills=[chunk(1, A, 5)],
    )
    assert run(runner, fork) == [first]
    both = [continuation(A, 3)[step] for step in (1, 2)]
    assert run(runner, plan(decode=[0, 1])) == [both[0]] * 2
    growth = grow((0, 2, 16), (1, 2, 17))
    assert run(runner, plan(decode=[1, 0], growth=growth)) == [both[1]] * 2


def test_launch_ahead_gives_the_same_tokens():
    def outputs(num_ahead: int) -> list[list[int]]:
        runner, pending, read = make_runner(), [], []
        plans = [
            plan(
                admissions=(admit(0, A, [7, 2, 3]), admit(1, B, [4, 5])),
                prefills=[chunk(0, A), chunk(1, B[:1], samples=False)],
            ),
            plan(decode=[0], prefills=[chunk(1, B, 1)]),
            *(plan(decode=[0, 1]) for _ in range(3)),
            plan(decode=[1], released=[0]),
        ]
        for each in plans:
            pending.append(runner.execute(each))
            if len(pending) > num_ahead:
                read.append(pending.pop(0).result().token_ids[:, 0].tolist())
        return read + [each.result().token_ids[:, 0].tolist() for each in pending]

    expected_a, expected_b = continuation(A, 5), continuation(B, 5)
    assert outputs(0) == outputs(1) == outputs(3)
    assert [step[0] for step in outputs(1)[:5]] == expected_a
    assert [step[-1] for step in outputs(1)[1:]] == expected_b


def test_penalties_survive_preemption():
    params = SamplingParams(temperature=1.0, repetition_penalty=1.6, presence_penalty=0.7, frequency_penalty=1.1)
    blocks = [1, 2, 3, 4, 5]

    def start(runner):
        return admit_and_prefill(runner, 1, A, blocks, params=params)

    calm, disturbed = make_runner(), make_runner()
    tokens = [start(calm)]
    for _ in range(8):
        tokens += run(calm, plan(decode=[1]))
    resumed = [start(disturbed)]
    for _ in range(3):
        resumed += run(disturbed, plan(decode=[1]))
    known = [*A, *resumed]
    admission = admit(1, known, [9, 8, 7, 6, 10], params=params, num_prompt=len(A))
    resumed += run(disturbed, plan(released=[1], admissions=(admission,), prefills=[chunk(1, known)]))
    for _ in range(4):
        resumed += run(disturbed, plan(decode=[1]))
    assert resumed == tokens
    assert tokens != continuation(A, 9), "the penalties must have had an effect"


@pytest.mark.parametrize("chunk_rows", [1, 4])
def test_logits_are_computed_in_bounded_chunks(chunk_rows):
    model = FakeDecoder()
    runner = make_runner(model, logits_chunk_bytes=chunk_rows * 101 * 4)
    prompts = [[row + 1, 40 + row] for row in range(6)]
    made = plan(
        admissions=tuple(admit(row, tokens, [10 + row]) for row, tokens in enumerate(prompts)),
        prefills=[chunk(row, tokens) for row, tokens in enumerate(prompts)],
    )
    assert run(runner, made) == [next_token(tokens) for tokens in prompts]
    assert max(model.logits_rows) == chunk_rows and sum(model.logits_rows) == 6


def test_logprobs_belong_to_the_rows_that_asked():
    runner = make_runner()
    asks = SamplingParams(temperature=0.0, logprobs=3)
    made = plan(admissions=(admit(0, A, [1, 2]), admit(1, B, [3], params=asks)), prefills=[chunk(0, A), chunk(1, B)])
    logprobs = runner.execute(made).result().logprobs
    assert logprobs.sample_positions.tolist() == [1]
    assert logprobs.ranks.tolist() == [1]
    assert logprobs.top_token_ids[0, 0] == next_token(B)
    np.testing.assert_allclose(logprobs.sampled_logprobs, logprobs.top_logprobs[:, 0])


def test_min_tokens_count_from_the_prompt_end():
    runner = make_runner()
    prompt = next(p for a in range(101) for b in range(101) if next_token(p := [a, b]) == 0)
    patient = SamplingParams(temperature=0.0, min_tokens=1)
    assert admit_and_prefill(runner, 0, prompt, [1]) == 0
    assert admit_and_prefill(runner, 1, prompt, [2], params=patient) != 0
    resumed = admit(2, prompt, [3], params=patient, num_prompt=1)
    assert run(runner, plan(admissions=(resumed,), prefills=[chunk(2, prompt)])) == [0]


def test_the_same_seed_draws_the_same_tokens_in_any_row():
    params = SamplingParams(temperature=5.0, seed=1)
    runner = make_runner()
    draws = []
    for row in (0, 4):
        admission = admit(row, A, [10 + 3 * row, 11 + 3 * row], params=params)
        object.__setattr__(admission, "seed", 1234567)
        tokens = run(runner, plan(admissions=(admission,), prefills=[chunk(row, A)]))
        tokens += run(runner, plan(decode=[row]))
        draws.append(tokens)
    assert draws[0] == draws[1]


def test_a_steady_step_sends_rows_only():
    model = FakeDecoder()
    runner = make_runner(model)
    admit_and_prefill(runner, 0, B, [1])
    run(runner, plan(decode=[0], max_seq_len=3))
    batch = model.batches[-1]
    assert (batch.num_decodes, batch.num_prefills, batch.max_query_len) == (1, 0, 0)
    assert batch.block_tables.dtype == batch.query_start_loc.dtype == batch.seq_lens.dtype == torch.int32
    assert batch.input_ids.dtype == batch.positions.dtype == batch.slot_mapping.dtype == torch.int64
    assert batch.query_start_loc.tolist() == [0, 1] and batch.seq_lens.tolist() == [3]


@pytest.mark.parametrize("num_steps", [1, 2, 3, 8])
def test_several_decode_steps_in_one_plan_are_the_steps_one_by_one(num_steps):
    runner = make_runner()
    first = [admit_and_prefill(runner, 4, A, [7, 2, 3, 8]), admit_and_prefill(runner, 1, B, [10, 11, 12])]
    sampled = [[], []]
    for _ in range(24 // num_steps // 3):
        output = runner.execute(plan(decode=[4, 1], num_decode_steps=num_steps)).result().token_ids
        assert output.shape == (2, num_steps)
        for tokens_of_row, more in zip(sampled, output.tolist(), strict=True):
            tokens_of_row.extend(more)
    assert [[token, *rest] for token, rest in zip(first, sampled, strict=True)] == [
        continuation(A, 1 + len(sampled[0])),
        continuation(B, 1 + len(sampled[1])),
    ]


def test_a_row_with_all_its_tokens_writes_only_scratch():
    model = FakeDecoder()
    runner = make_runner(model)
    admission = admit(0, A, [7, 2, 3], max_total=len(A) + 3)
    first = run(runner, plan(admissions=(admission,), prefills=[chunk(0, A)]))[0]
    other = admit_and_prefill(runner, 2, B, [9, 10])
    output = runner.execute(plan(decode=[0, 2], num_decode_steps=4)).result().token_ids.tolist()
    assert [first, *output[0][:2]] == continuation(A, 3)
    assert [other, *output[1]] == continuation(B, 5)
    slots = [batch.slot_mapping[0].item() for batch in model.batches[-4:]]
    assert slots == [2 * 4 + 2, 2 * 4 + 3, 0, 0]
    again = runner.execute(plan(decode=[2, 0], num_decode_steps=2)).result().token_ids.tolist()
    assert [other, *output[1], *again[0]] == continuation(B, 7)
    assert [batch.slot_mapping[1].item() for batch in model.batches[-2:]] == [0, 0]


def test_after_a_fault_reset_makes_the_rows_usable():
    model = FakeDecoder()
    runner = make_runner(model)
    params = SamplingParams(temperature=0.0, repetition_penalty=1.1, logprobs=1, top_k=2, logit_bias={1: 1.0})
    model.fail_next = True
    with pytest.raises(RuntimeError, match="injected"):
        admit_and_prefill(runner, 0, A, [1, 2], params=params)
    runner.reset()
    assert admit_and_prefill(runner, 0, A, [1, 2]) == next_token(A)


def test_the_callers_torch_state_is_left_alone():
    runner = make_runner()
    state = torch.get_rng_state()
    admit_and_prefill(runner, 0, A, [1, 2], params=SamplingParams(temperature=1.0))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_a_runner_that_was_shut_down_says_so():
    runner = make_runner()
    runner.shutdown()
    runner.shutdown()
    with pytest.raises(EngineDeadError):
        runner.execute(plan(admissions=(admit(0, A, [1, 2], params=GREEDY),), prefills=[chunk(0, A)]))
    assert LIMITS.max_num_seqs == runner.scheduler_config.max_num_seqs

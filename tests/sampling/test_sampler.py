"""The sampler against transformers' logits processors, plain softmax arithmetic, and itself in other chunks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import transformers

from pagednb.kernels.kernel_set import torch_kernels
from pagednb.sampling.sampler import Sampler, SamplingInputs
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.output import Admission, TokenMasks

VOCAB = 97
NUM_ROWS = 12
EOS = (3, 5)
CPU = torch.device("cpu")


def make_sampler(**options) -> Sampler:
    return Sampler(torch_kernels(), num_rows=NUM_ROWS, vocab_size=VOCAB, eos_token_ids=EOS, device=CPU, **options)


def admission(row: int, params: SamplingParams, prompt=(1, 2, 3), output=()) -> Admission:
    tokens = np.array([*prompt, *output], dtype=np.int32)
    return Admission(
        row=row,
        token_ids=tokens,
        num_prompt_tokens=len(prompt),
        num_computed_tokens=0,
        max_total_tokens=100,
        block_ids=np.array([1], dtype=np.int32),
        sampling_params=params,
        seed=row,
    )


def inputs_for(rows: list[int], params: list[SamplingParams], positions: list[int]) -> SamplingInputs:
    return SamplingInputs(
        rows=np.array(rows, dtype=np.int32),
        temperature=torch.tensor([p.temperature for p in params], dtype=torch.float32),
        top_k=torch.tensor([p.top_k for p in params], dtype=torch.int32),
        top_p=torch.tensor([p.top_p for p in params], dtype=torch.float32),
        min_p=torch.tensor([p.min_p for p in params], dtype=torch.float32),
        seeds=torch.tensor(rows, dtype=torch.int64),
        positions=torch.tensor(positions, dtype=torch.int64),
    )


def random_logits(num_rows: int, seed: int) -> torch.Tensor:
    return torch.randn(num_rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * 3


def sample(sampler: Sampler, logits: torch.Tensor, inputs: SamplingInputs):
    """Hidden states are the logits themselves."""
    return sampler.sample(logits, torch.clone, inputs)


def processed_logits(sampler: Sampler, logits: torch.Tensor, inputs: SamplingInputs) -> torch.Tensor:
    """What the sampling kernel is given."""
    seen = logits.clone()
    sampler._biases.apply(seen, inputs.rows, inputs.positions)
    sampler._penalties.apply(seen, inputs.rows)
    return seen


def test_greedy_rows_take_the_largest_logit():
    sampler, params = make_sampler(), SamplingParams(temperature=0.0)
    for row in range(4):
        sampler.admit(admission(row, params))
    logits = random_logits(4, 0)
    tokens, logprobs = sample(sampler, logits, inputs_for([0, 1, 2, 3], [params] * 4, [3] * 4))
    assert tokens.tolist() == logits.argmax(-1).tolist()
    assert logprobs is None


def test_repetition_penalty_equals_transformers():
    sampler = make_sampler()
    params = SamplingParams(temperature=0.0, repetition_penalty=1.7)
    prompt, output = [1, 2, 2, 90], [7, 7, 30]
    sampler.admit(admission(5, params, prompt, output))
    logits = random_logits(1, 1)
    theirs = transformers.RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([prompt + output]), logits.clone())
    ours = processed_logits(sampler, logits, inputs_for([5], [params], [7]))
    torch.testing.assert_close(ours, theirs)


def test_presence_and_frequency_penalties_count_the_output_only():
    sampler = make_sampler()
    params = SamplingParams(temperature=0.0, presence_penalty=0.75, frequency_penalty=-0.5)
    sampler.admit(admission(0, params, prompt=[10, 11], output=[20, 20, 21]))
    logits = random_logits(1, 2)
    expected = logits.clone()
    expected[0, 20] -= 0.75 - 0.5 * 2
    expected[0, 21] -= 0.75 - 0.5
    torch.testing.assert_close(processed_logits(sampler, logits, inputs_for([0], [params], [5])), expected)


def test_sampled_tokens_are_counted_as_if_readmitted():
    """Counts fed on the device equal counts rebuilt from the tokens, as after preemption."""
    params = SamplingParams(temperature=0.0, repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.9)
    running, resumed = make_sampler(), make_sampler()
    running.admit(admission(2, params))
    output: list[int] = []
    for step in range(8):
        tokens, _ = sample(running, random_logits(1, 40 + step % 3), inputs_for([2], [params], [3 + step]))
        output += tokens.tolist()
    assert len(set(output)) > 1
    resumed.admit(admission(9, params, output=output))
    logits, position = random_logits(1, 77), [3 + len(output)]
    torch.testing.assert_close(
        processed_logits(running, logits, inputs_for([2], [params], position)),
        processed_logits(resumed, logits, inputs_for([9], [params], position)),
    )


def test_a_released_slot_starts_clean():
    sampler = make_sampler()
    penalised = SamplingParams(temperature=0.0, repetition_penalty=2.0, frequency_penalty=1.0, logit_bias={4: 5.0})
    sampler.admit(admission(0, penalised, prompt=[8], output=[9, 9]))
    sampler.release(np.array([0]))
    other = SamplingParams(temperature=0.0, repetition_penalty=1.5)
    sampler.admit(admission(1, other, prompt=[60]))
    logits = random_logits(1, 3)
    expected = logits.clone()
    expected[0, 60] = expected[0, 60] / 1.5 if expected[0, 60] > 0 else expected[0, 60] * 1.5
    torch.testing.assert_close(processed_logits(sampler, logits, inputs_for([1], [other], [1])), expected)


def test_features_of_some_rows_leave_the_others_alone():
    sampler = make_sampler()
    plain = SamplingParams(temperature=0.0)
    special = SamplingParams(temperature=0.0, repetition_penalty=1.9, logit_bias={4: -3.0}, min_tokens=4)
    rows = [7, 1, 4, 2]
    for row in rows:
        sampler.admit(admission(row, special if row == 4 else plain))
    logits = random_logits(4, 4)
    ours = processed_logits(sampler, logits, inputs_for(rows, [plain] * 4, [3] * 4))
    torch.testing.assert_close(ours[[0, 1, 3]], logits[[0, 1, 3]], rtol=0, atol=0)
    assert not torch.equal(ours[2], logits[2])


def test_logit_bias_is_added():
    sampler = make_sampler()
    params = SamplingParams(temperature=0.0, logit_bias={96: 100.0, 0: -2.5, 3: 1.0})
    sampler.admit(admission(0, params))
    logits = random_logits(1, 5)
    expected = logits.clone()
    expected[0, [96, 0, 3]] += torch.tensor([100.0, -2.5, 1.0])
    inputs = inputs_for([0], [params], [3])
    torch.testing.assert_close(processed_logits(sampler, logits, inputs), expected)
    assert sample(sampler, logits, inputs)[0].tolist() == [96]


@pytest.mark.parametrize("ignore_eos", [False, True])
def test_min_tokens_holds_eos_and_stop_tokens_back_until_reached(ignore_eos):
    sampler = make_sampler()
    params = SamplingParams(temperature=0.0, min_tokens=2, stop_token_ids=[50], ignore_eos=ignore_eos)
    sampler.admit(admission(0, params, prompt=(1, 2, 3)))
    logits = random_logits(1, 6)
    for num_output in range(4):
        ours = processed_logits(sampler, logits, inputs_for([0], [params], [3 + num_output]))
        theirs = transformers.MinLengthLogitsProcessor(3 + 2, [*EOS, 50])(
            torch.zeros(1, 3 + num_output, dtype=torch.long), logits.clone()
        )
        assert torch.equal(ours, theirs), num_output
        assert bool(torch.isinf(ours).any()) == (num_output < 2)


def test_logit_bias_on_a_held_back_token_does_not_free_it():
    sampler = make_sampler()
    params = SamplingParams(temperature=0.0, min_tokens=1, logit_bias={EOS[0]: 100.0})
    sampler.admit(admission(0, params))
    logits = random_logits(1, 7)
    assert sample(sampler, logits, inputs_for([0], [params], [3]))[0].item() not in EOS
    assert sample(sampler, logits, inputs_for([0], [params], [4]))[0].tolist() == [EOS[0]]


def test_stop_tokens_outside_the_vocabulary_are_harmless():
    sampler = make_sampler()
    params = SamplingParams(temperature=0.0, min_tokens=3, stop_token_ids=[VOCAB, 10 * VOCAB, 8])
    sampler.admit(admission(0, params))
    logits = random_logits(1, 14)
    ours = processed_logits(sampler, logits, inputs_for([0], [params], [3]))
    assert torch.isinf(ours[0]).nonzero().squeeze(1).tolist() == [*EOS, 8]


def test_logprobs_equal_log_softmax_of_the_raw_logits():
    sampler = make_sampler()
    params = [
        SamplingParams(temperature=0.7, logprobs=2, repetition_penalty=1.8, logit_bias={1: 20.0}),
        SamplingParams(temperature=0.0),
        SamplingParams(temperature=1.0, logprobs=0, seed=4),
        SamplingParams(temperature=1.0, logprobs=5, seed=4),
    ]
    rows = [3, 0, 8, 1]
    for row, each in zip(rows, params, strict=True):
        sampler.admit(admission(row, each))
    logits = random_logits(4, 8)
    tokens, tensors = sample(sampler, logits, inputs_for(rows, params, [3] * 4))
    arrays = tensors.to_host().to_arrays()
    expected = logits.log_softmax(-1)
    assert arrays.sample_positions.tolist() == [0, 2, 3]
    for i, position in enumerate(arrays.sample_positions):
        row = expected[position]
        token = tokens[position]
        np.testing.assert_allclose(arrays.sampled_logprobs[i], row[token], rtol=1e-5)
        assert arrays.ranks[i] == row.argsort(descending=True).tolist().index(token) + 1
        np.testing.assert_array_equal(arrays.top_token_ids[i], row.topk(5).indices)
        np.testing.assert_allclose(arrays.top_logprobs[i], row.topk(5).values, rtol=1e-5)


def test_only_sampled_logprobs_have_width_zero():
    sampler, params = make_sampler(), SamplingParams(temperature=0.0, logprobs=0)
    sampler.admit(admission(0, params))
    _, tensors = sample(sampler, random_logits(1, 9), inputs_for([0], [params], [3]))
    arrays = tensors.to_host().to_arrays()
    assert arrays.top_token_ids.shape == arrays.top_logprobs.shape == (1, 0)
    assert arrays.ranks.tolist() == [1]


MIXED = [
    SamplingParams(temperature=1.0, seed=1),
    SamplingParams(temperature=0.0, logprobs=3),
    SamplingParams(temperature=0.8, top_k=5, top_p=0.9, logprobs=1),
    SamplingParams(temperature=1.2, min_p=0.1, presence_penalty=1.0),
    SamplingParams(temperature=0.6, repetition_penalty=1.4, logprobs=2),
    SamplingParams(temperature=1.0, logit_bias={5: 4.0}, min_tokens=3),
    SamplingParams(temperature=1.0, top_p=0.5, logprob_token_ids=(4, 90, 4)),
]


@pytest.mark.parametrize("chunk_rows", [1, 2, 3])
def test_logits_in_chunks_give_the_same_tokens_and_logprobs(chunk_rows):
    whole, chunked = make_sampler(), make_sampler(logits_chunk_bytes=chunk_rows * VOCAB * 4)
    rows = list(range(len(MIXED)))
    for step in range(3):
        results = []
        for sampler in (whole, chunked):
            if step == 0:
                for row, params in zip(rows, MIXED, strict=True):
                    sampler.admit(admission(row, params))
            tokens, logprobs = sample(sampler, random_logits(len(rows), step), inputs_for(rows, MIXED, [3 + step] * 7))
            arrays = logprobs.to_host().to_arrays()
            fields = (arrays.sample_positions, arrays.ranks, arrays.top_token_ids, arrays.top_logprobs)
            results.append((tokens.tolist(), *(field.tolist() for field in fields)))
        assert results[0] == results[1]


def test_a_row_draws_the_same_token_alone_and_in_a_batch():
    rows = list(range(len(MIXED)))
    logits = random_logits(len(rows), 11)
    together = make_sampler()
    for row, params in zip(rows, MIXED, strict=True):
        together.admit(admission(row, params))
    batch, _ = sample(together, logits, inputs_for(rows, MIXED, [3] * 7))
    for row, params in zip(rows, MIXED, strict=True):
        alone = make_sampler()
        alone.admit(admission(row, params))
        token, _ = sample(alone, logits[row : row + 1], inputs_for([row], [params], [3]))
        assert token.item() == batch[row].item(), params


def test_filters_keep_exactly_what_transformers_keeps():
    params = SamplingParams(temperature=0.7, top_k=6, top_p=0.8)
    sampler = make_sampler()
    sampler.admit(admission(0, params))
    logits = random_logits(1, 12)
    warped = logits / 0.7
    for warper in (transformers.TopKLogitsWarper(6), transformers.TopPLogitsWarper(0.8)):
        warped = warper(None, warped)
    allowed = set(torch.isfinite(warped[0]).nonzero().squeeze(1).tolist())
    drawn = {sample(sampler, logits, inputs_for([0], [params], [position]))[0].item() for position in range(3, 400)}
    assert drawn == allowed


def test_the_global_random_generator_is_not_used():
    params = SamplingParams(temperature=1.0)
    sampler = make_sampler()
    sampler.admit(admission(0, params))
    before = torch.get_rng_state()
    sample(sampler, random_logits(1, 13), inputs_for([0], [params], [3]))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("chunk_rows", [1, 2, 64])
def test_masked_rows_draw_as_if_the_vocabulary_were_smaller(chunk_rows: int):
    """Rows 1, 4 and 5 of six are constrained; the others, and logprobs, do not notice."""
    params = [
        SamplingParams(temperature=0.9, logprobs=1),
        SamplingParams(temperature=1.0, regex="a"),
        SamplingParams(temperature=1.5, top_k=4),
        SamplingParams(temperature=0.0),
        SamplingParams(temperature=2.0, top_k=5, top_p=0.8, logprobs=1, logit_bias={7: 100.0}, regex="a"),
        SamplingParams(temperature=1.2, min_p=0.2, repetition_penalty=1.4, regex="a"),
    ]
    sampler = make_sampler(logits_chunk_bytes=chunk_rows * VOCAB * 4)
    free = make_sampler()
    for row, each in enumerate(params):
        sampler.admit(admission(row, each))
        free.admit(admission(row, each))
    is_allowed = torch.rand(3, VOCAB, generator=torch.Generator().manual_seed(5)) < 0.1
    is_allowed[:, 7] = False  # what the bias would bring
    bits = np.packbits(np.pad(is_allowed.numpy(), ((0, 0), (0, 31))), axis=1, bitorder="little")[:, :16]
    masks = TokenMasks(sample_positions=np.array([1, 4, 5], dtype=np.int32), words=bits.copy().view(np.int32))
    for seed in range(30):
        logits = random_logits(6, seed)
        inputs = inputs_for(list(range(6)), params, [3 + seed] * 6)
        sampler.receive_masks(masks)
        mask_rows = torch.tensor([-1, 0, -1, -1, 1, 2], dtype=torch.int32)
        tokens, logprobs = sampler.sample(logits, torch.clone, dataclasses.replace(inputs, mask_rows=mask_rows))
        blocked = logits.clone()
        blocked[[1, 4, 5]] = blocked[[1, 4, 5]].masked_fill(~is_allowed, -torch.inf)
        expected, _ = sample(free, blocked, inputs)
        assert tokens.tolist() == expected.tolist()
        assert all(is_allowed[i, tokens[row]] for i, row in enumerate((1, 4, 5)))
        raw = logits.log_softmax(-1)[[0, 4], tokens[[0, 4]]]
        torch.testing.assert_close(logprobs.sampled_logprobs, raw)


@pytest.mark.parametrize(
    ("params", "is_plain"),
    [
        (SamplingParams(top_p=0.5), True),
        (SamplingParams(choices=["yes", "no"]), True),
        (SamplingParams(min_tokens=1), False),
        (SamplingParams(logprobs=0), False),
        (SamplingParams(logprob_token_ids=[4]), False),
    ],
)
def test_what_a_captured_step_can_sample(params, is_plain):
    sampler = make_sampler()
    sampler.admit(admission(2, params))
    assert sampler.are_plain(np.array([0, 2])) == is_plain
    sampler.release(np.array([2]))
    assert sampler.are_plain(np.array([0, 2]))

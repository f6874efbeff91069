"""Sampling: the tokens that survive, how often each is drawn, and bits that depend on seed and position alone."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from support.kernel_checks import draw

from pagednb.kernels.kernel_set import KernelSet
from pagednb.kernels.reference_sampling import CHUNK_WIDTH, chunk_noise, filter_threshold, philox, token_noise


@dataclasses.dataclass(frozen=True)
class Filters:
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


FILTERS = (
    Filters(),
    Filters(temperature=0.0, top_k=5),
    Filters(top_k=1),
    Filters(temperature=0.6, top_k=20, top_p=0.95),
    Filters(top_p=0.5),
    Filters(temperature=2.0, top_p=0.97, min_p=0.01),
    Filters(min_p=0.2),
    Filters(top_k=7, top_p=0.8, min_p=0.05),
    Filters(temperature=0.3, top_p=1e-6),
    Filters(top_k=10_000_000, top_p=0.9),
)


def sample(
    kernels: KernelSet,
    logits: torch.Tensor,
    filters: list[Filters],
    seeds: torch.Tensor | None = None,
    positions: torch.Tensor | None = None,
    *,
    has_filters: bool = True,
) -> torch.Tensor:
    rows = torch.arange(len(filters))
    seeds = rows * 0x1234567890123 - 5 if seeds is None else seeds
    positions = rows + 9 if positions is None else positions
    columns = [torch.tensor([getattr(f, name) for f in filters]) for name in ("temperature", "top_k", "top_p", "min_p")]
    arguments = (columns[0], columns[1].int(), columns[2], columns[3], seeds, positions)
    return kernels.sample_tokens(logits, *(a.to(logits.device) for a in arguments), has_filters=has_filters).cpu()


def survivors(logits: torch.Tensor, filters: Filters) -> set[int]:
    """Keep tokens by the definition, one by one in order of probability; ties with the last one stay."""
    scaled = (logits.float() / filters.temperature).tolist()
    order = sorted(range(len(scaled)), key=lambda i: -scaled[i])
    best = scaled[order[0]]
    kept = [i for i in order if scaled[i] >= best + (math.log(filters.min_p) if filters.min_p else -math.inf)]
    if 0 < filters.top_k < len(kept):
        kept = [i for i in kept if scaled[i] >= scaled[kept[filters.top_k - 1]]]
    mass = [math.exp(scaled[i] - best) for i in kept]
    before, last = 0.0, kept[0]
    for token, weight in zip(kept, mass, strict=True):
        if before >= filters.top_p * sum(mass):
            break
        before, last = before + weight, token
    return {i for i in kept if scaled[i] >= scaled[last]}


def assert_fits(tokens: torch.Tensor, logits: torch.Tensor, filters: Filters) -> None:
    """Chi-square test of draws against the exact probabilities, at five standard deviations."""
    keep = sorted(survivors(logits, filters))
    assert set(tokens.tolist()) <= set(keep)
    expected = (logits[keep].double() / filters.temperature).softmax(dim=0) * len(tokens)
    observed = torch.bincount(tokens, minlength=logits.numel())[keep].double()
    common = expected >= 5
    groups = [(observed[common], expected[common]), (observed[~common].sum()[None], expected[~common].sum()[None])]
    chi_square = sum(float(((o - e).square() / e.clamp(min=1e-9)).sum()) for o, e in groups if e.sum() > 5)
    freedom = int(common.sum())
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom) + 5


@pytest.mark.parametrize("vocab", [1, 300, 5003])
def test_same_tokens_as_the_reference(
    kernels: KernelSet, references: KernelSet, vocab: int, device: torch.device
) -> None:
    logits = draw((len(FILTERS), vocab), torch.float32, device, seed=vocab) * 3
    expected = sample(references, logits.cpu(), list(FILTERS))
    assert torch.equal(sample(kernels, logits, list(FILTERS)), expected)


def test_same_tokens_without_filters(kernels: KernelSet, references: KernelSet, device: torch.device) -> None:
    filters = [Filters(temperature=t) for t in (0.0, 0.5, 1.0, 3.0)]
    logits = draw((4, 9000), torch.float32, device, seed=0)[:, 7:]
    expected = sample(references, logits.cpu(), filters, has_filters=False)
    assert torch.equal(sample(kernels, logits, filters, has_filters=False), expected)
    assert torch.equal(sample(kernels, logits, filters, has_filters=True), expected)


@pytest.mark.gpu
def test_same_tokens_on_a_large_vocabulary(kernels: KernelSet, references: KernelSet, device: torch.device) -> None:
    filters = list(FILTERS) * 8
    logits = draw((len(filters), 151_936), torch.float32, device, seed=0) * 2
    expected = sample(references, logits.cpu(), filters)
    # a logarithm may round differently on the two sides and turn a near tie, rarely
    assert (sample(kernels, logits, filters) == expected).float().mean() > 0.98


def test_the_check_can_fail(kernels: KernelSet, references: KernelSet, device: torch.device) -> None:
    logits = draw((2, 300), torch.float32, device, seed=0)
    out = sample(kernels, logits, [Filters(), Filters()])
    logits[1, 17] += 30.0
    assert out[0] == sample(references, logits.cpu(), [Filters(), Filters()])[0]
    assert out[1] != sample(references, logits.cpu(), [Filters(), Filters()])[1]


@pytest.mark.parametrize("filters", FILTERS[2:], ids=str)
def test_reference_keeps_what_the_definition_keeps(filters: Filters) -> None:
    # multiples of 1/16, many of them tied
    logits = (draw((300,), torch.float32, torch.device("cpu"), seed=3) * 32).round() / 16
    arguments = (torch.tensor([filters.top_k]), torch.tensor([filters.top_p]), torch.tensor([filters.min_p]))
    scaled = logits * (1.0 / torch.tensor(filters.temperature))
    threshold = filter_threshold(scaled.unsqueeze(0), *arguments)
    assert set((scaled >= threshold).nonzero().flatten().tolist()) == survivors(logits, filters)


@pytest.mark.parametrize("filters", [FILTERS[i] for i in (0, 3, 4, 5, 7)], ids=str)
def test_reference_draws_in_proportion(references: KernelSet, filters: Filters) -> None:
    draw_many_and_check(references, filters, torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.parametrize("filters", [f for f in FILTERS if f.temperature > 0], ids=str)
def test_draws_in_proportion(kernels: KernelSet, filters: Filters, device: torch.device) -> None:
    draw_many_and_check(kernels, filters, device)


def draw_many_and_check(kernels: KernelSet, filters: Filters, device: torch.device) -> None:
    num_draws = 2000
    logits = draw((50,), torch.float32, device, seed=8) * 2
    rows = logits.expand(num_draws, -1).contiguous()
    positions, same_seed = torch.arange(num_draws), torch.full((num_draws,), 42)
    tokens = sample(kernels, rows, [filters] * num_draws, same_seed, positions)
    assert_fits(tokens, logits.cpu(), filters)
    other = sample(kernels, rows, [filters] * num_draws, positions, torch.full((num_draws,), 7))
    assert_fits(other, logits.cpu(), filters)


def test_a_wrong_distribution_does_not_fit() -> None:
    logits = torch.linspace(-1, 1, 20)
    uniform = torch.randint(20, (2000,), generator=torch.Generator().manual_seed(0))
    with pytest.raises(AssertionError):
        assert_fits(uniform, logits, Filters())


def test_a_row_draws_alike_in_every_batch(kernels: KernelSet, device: torch.device) -> None:
    filters = [Filters(top_p=0.9), Filters(temperature=0.0), Filters(top_k=40)]
    logits = draw((3, 600), torch.float32, device, seed=2)
    seeds, positions = torch.tensor([2**62, 1, -1]), torch.tensor([2**33, 0, 4])
    together = sample(kernels, logits, filters, seeds, positions)
    for i in range(3):
        row = slice(i, i + 1)
        assert sample(kernels, logits[row], filters[row], seeds[row], positions[row])[0] == together[i]


def test_masked_tokens_are_never_drawn(kernels: KernelSet, device: torch.device) -> None:
    logits = torch.full((3, 70), -torch.inf, device=device)
    logits[:, 33] = -1e30
    filters = [Filters(top_k=5, top_p=0.5), Filters(temperature=0.0), Filters(min_p=0.1)]
    assert sample(kernels, logits, filters).tolist() == [33, 33, 33]


def test_greedy_takes_the_first_of_ties(kernels: KernelSet, device: torch.device) -> None:
    logits = torch.zeros((1, 5000), device=device)
    logits[0, [4100, 1200, 4999]] = 2.5
    assert sample(kernels, logits, [Filters(temperature=0.0)], has_filters=False).tolist() == [1200]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in Triton's interpreter
@pytest.mark.parametrize("vocab", [70, CHUNK_WIDTH + 1])
@pytest.mark.parametrize("has_filters", [False, True])
def test_logits_that_are_no_numbers_give_no_token(
    kernels: KernelSet, vocab: int, has_filters: bool, device: torch.device
) -> None:
    logits = torch.full((4, vocab), torch.nan, device=device)
    logits[1] = 0.0
    logits[1, 7] = 50.0
    filters = [Filters(temperature=0.0), Filters(), Filters(), Filters(top_p=0.5 if has_filters else 1.0)]
    assert sample(kernels, logits, filters, has_filters=has_filters).tolist() == [-1, 7, -1, -1]


def test_no_rows(kernels: KernelSet, device: torch.device) -> None:
    assert sample(kernels, torch.empty((0, 8), device=device), []).shape == (0,)


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (-1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ],
)
def test_philox_known_answers(fill: int, words: tuple[int, ...]) -> None:
    """The published vectors of Philox4x32-10 for counter and key of all zeros and all ones."""
    out = philox(torch.tensor([fill]), torch.tensor([fill & 0xFFFFFFFF]), torch.tensor([fill]), purpose=fill)
    assert tuple(int(w) for w in out) == words


def test_noise_is_gumbel() -> None:
    rows = torch.arange(40)
    assert_gumbel(token_noise(rows, torch.zeros_like(rows), rows % 3))
    assert_gumbel(chunk_noise(rows, torch.zeros_like(rows), 5000))


def assert_gumbel(noise: torch.Tensor) -> None:
    noise = noise.double().flatten()
    assert abs(float(noise.mean()) - 0.5772) < 0.02
    assert abs(float(noise.var()) - math.pi**2 / 6) < 0.05
    for quantile in (0.001, 0.5, 0.999, 0.9999):
        below = float((noise < -math.log(-math.log(quantile))).double().mean())
        assert abs(below - quantile) < 5 * math.sqrt(quantile * (1 - quantile) / noise.numel())


def test_both_draws_have_noise_of_their_own() -> None:
    one, zero = torch.ones(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    first, second = chunk_noise(one, zero, 1000), token_noise(one, zero, zero)[:, :1000]
    assert float((first == second).double().mean()) < 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_need_no_copy(
    kernels: KernelSet, references: KernelSet, dtype: torch.dtype, device: torch.device
) -> None:
    filters = [Filters(temperature=t) for t in (0.0, 0.5, 1.0, 3.0)]
    logits = (draw((4, 9000), torch.float32, device, seed=1) * 3).to(dtype)
    drawn = sample(kernels, logits, filters, has_filters=False)
    assert torch.equal(drawn, sample(kernels, logits.float(), filters, has_filters=False))
    assert torch.equal(drawn, sample(references, logits.cpu(), filters, has_filters=False))


def test_draws_in_proportion_across_chunks(kernels: KernelSet, device: torch.device) -> None:
    num_draws = 600
    logits = torch.full((3 * CHUNK_WIDTH + 5,), -torch.inf, device=device)
    likely = torch.tensor([0, 3, CHUNK_WIDTH - 1, CHUNK_WIDTH, 2 * CHUNK_WIDTH + 77, 3 * CHUNK_WIDTH + 4])
    logits[likely] = torch.tensor([0.0, 1.0, -1.0, 2.0, 1.5, 0.5], device=device)
    rows, positions = logits.expand(num_draws, -1), torch.arange(num_draws)
    tokens = sample(kernels, rows, [Filters()] * num_draws, torch.full((num_draws,), 5), positions, has_filters=False)
    assert_fits(tokens, logits.cpu(), Filters())

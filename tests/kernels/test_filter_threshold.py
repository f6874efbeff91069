"""Thresholds of the filters: the tokens that survive are the reference's, on the rows that are hard to search."""

from __future__ import annotations

import pytest
import torch
from support.kernel_checks import draw

from pagednb.kernels.filter_candidates import CAPACITY
from pagednb.kernels.filter_threshold import find_thresholds
from pagednb.kernels.reference_sampling import GREEDY_TEMPERATURE, filter_threshold

OVERFLOWING = CAPACITY + 3613  # an odd vocabulary of which a flat row has more candidates than fit

FILTERS = (  # temperature, top_k, top_p, min_p
    (1.0, 1, 1.0, 0.0),
    (0.7, 20, 0.95, 0.0),
    (1.0, 300, 1.0, 0.0),
    (1.0, 10_000_000, 0.8, 0.0),
    (1.0, 0, 1e-6, 0.0),
    (0.3, 0, 0.9, 0.0),
    (2.0, 0, 0.999999, 0.0),
    (1.0, 0, 1.0, 0.3),
    (1.5, 0, 0.9, 0.02),
    (1.5, 50, 0.6, 0.02),
    (0.0, 20, 0.95, 0.1),
    (0.8, 0, 1.0, 0.0),
)


def hard_rows(vocab: int) -> dict[str, torch.Tensor]:
    noise = draw((vocab,), torch.float32, torch.device("cpu"), seed=vocab)
    few = torch.full((vocab,), -torch.inf)
    few[:: max(1, vocab // 7)] = noise[:: max(1, vocab // 7)]
    peak = noise.clone()
    peak[vocab // 2] = 30.0
    return {
        "normal": noise * 3,
        "tied": (noise * 4).round() / 2,
        "equal": torch.full((vocab,), -1.25),
        "two values": torch.where(noise > 1.0, 2.0, -2.0),
        "flat": noise * 1e-3,
        "mostly -inf": few,
        "peak": peak,
        "steep": -torch.arange(vocab, dtype=torch.float32),
    }


def columns(filters: list[tuple[float, int, float, float]], device: torch.device) -> list[torch.Tensor]:
    temperature, top_k, top_p, min_p = (list(column) for column in zip(*filters, strict=True))
    tensors = (torch.tensor(temperature), torch.tensor(top_k).int(), torch.tensor(top_p), torch.tensor(min_p))
    return [tensor.to(device) for tensor in tensors]


def survivors(logits: torch.Tensor, filters: list[tuple[float, int, float, float]]) -> torch.Tensor:
    """Return bool ``[num_rows, vocab]`` by the kernels' thresholds."""
    arguments = columns(filters, logits.device)
    thresholds = find_thresholds(logits, *arguments).keys.cpu()
    scaled = logits.cpu() * (1.0 / arguments[0].cpu().clamp(min=GREEDY_TEMPERATURE)).unsqueeze(1)
    bits = (scaled + 0.0).view(torch.int32).long()
    keys = torch.where(bits < 0, ~bits, bits | 1 << 31) & 0xFFFFFFFF
    return keys >= thresholds.unsqueeze(1)


def reference_survivors(logits: torch.Tensor, filters: list[tuple[float, int, float, float]]) -> torch.Tensor:
    temperature, *rest = columns(filters, torch.device("cpu"))
    scaled = logits.cpu() * (1.0 / temperature.clamp(min=GREEDY_TEMPERATURE)).unsqueeze(1)
    greedy = (temperature < GREEDY_TEMPERATURE).unsqueeze(1)  # unfiltered
    return greedy | (scaled >= filter_threshold(scaled, *rest).unsqueeze(1))


def assert_same_survivors(logits: torch.Tensor, filters: list[tuple[float, int, float, float]]) -> None:
    """Equal sets; with top-p, sums differ by rounding and so may the sets, by tokens of a negligible mass."""
    kept, expected = survivors(logits, filters), reference_survivors(logits, filters)
    for row, (temperature, _, top_p, _) in enumerate(filters):
        differ = kept[row] != expected[row]
        if not differ.any():
            continue
        assert temperature >= GREEDY_TEMPERATURE and top_p < 1.0, f"row {row}: {int(differ.sum())} tokens differ"
        probs = (logits[row].cpu().double() / temperature).softmax(dim=0)
        assert float(probs[differ].sum()) < 2e-6 * float(probs[expected[row]].sum())


@pytest.mark.parametrize("vocab", [3, 777])
@pytest.mark.parametrize("kind", hard_rows(8))
def test_survivors_of_hard_rows(kind: str, vocab: int, device: torch.device) -> None:
    logits = hard_rows(vocab)[kind].expand(len(FILTERS), -1).contiguous().to(device)
    assert_same_survivors(logits, list(FILTERS))


@pytest.mark.parametrize("kind", ["equal", "two values", "flat"])
def test_rows_whose_candidates_overflow(kind: str, device: torch.device) -> None:
    filters = [FILTERS[i] for i in (1, 2, 6, 9)]
    logits = hard_rows(OVERFLOWING)[kind].expand(len(filters), -1).contiguous().to(device)
    assert_same_survivors(logits, filters)


def test_mixed_rows_keep_what_each_keeps_alone(device: torch.device) -> None:
    rows = hard_rows(OVERFLOWING)
    logits = torch.stack([rows[kind] for kind in ("normal", "flat", "tied", "peak")]).to(device)
    filters = [FILTERS[i] for i in (1, 8, 10, 5)]
    together = survivors(logits, filters)
    for row in range(len(filters)):
        assert torch.equal(survivors(logits[row : row + 1], filters[row : row + 1])[0], together[row])


@pytest.mark.gpu
@pytest.mark.parametrize("vocab", [128_256, 151_937])
def test_survivors_of_a_large_vocabulary(vocab: int, device: torch.device) -> None:
    for logits in hard_rows(vocab).values():
        assert_same_survivors(logits.expand(len(FILTERS), -1).contiguous().to(device), list(FILTERS))


@pytest.mark.gpu
def test_repeats_to_the_bit(device: torch.device) -> None:
    filters = [(1.0, 0, 0.9, 0.0), (0.7, 20, 0.95, 0.0), (3.0, 0, 0.97, 0.0)] * 20
    logits = draw((len(filters), 128_256), torch.float32, device, seed=5) * 2
    first = find_thresholds(logits, *columns(filters, device)).keys
    assert all(torch.equal(find_thresholds(logits, *columns(filters, device)).keys, first) for _ in range(20))


def test_the_check_can_fail(device: torch.device) -> None:
    logits = hard_rows(777)["normal"].unsqueeze(0).to(device)
    kept = survivors(logits, [(1.0, 20, 1.0, 0.0)])
    assert int(kept.sum()) == 20
    assert not torch.equal(kept, reference_survivors(logits, [(1.0, 21, 1.0, 0.0)]))

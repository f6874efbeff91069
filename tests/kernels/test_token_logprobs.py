"""Logprobs of given tokens against log-softmax in float64, and ranks against a count."""

from __future__ import annotations

import pytest
import torch
from support.kernel_checks import DTYPES, draw

from pagednb.kernels.kernel_set import KernelSet

# of log-softmax values up to some tens: the kernel's exp and log are approximate, its sums in another order
TOLERANCE = 2e-5


def ask(num_asked: int, width: int, vocab: int, device: torch.device) -> torch.Tensor:
    return torch.randint(vocab, (num_asked, width), generator=torch.Generator().manual_seed(5)).to(device)


def formula(logits: torch.Tensor, token_ids: torch.Tensor, rows: list[int]) -> torch.Tensor:
    return logits[rows].double().log_softmax(dim=1).gather(1, token_ids)


def check(kernels: KernelSet, logits: torch.Tensor, rows: list[int] | None, width: int) -> None:
    asked = list(range(len(logits))) if rows is None else rows
    token_ids = ask(len(asked), width, logits.shape[1], logits.device)
    where = None if rows is None else torch.tensor(rows, dtype=torch.int64, device=logits.device)
    logprobs, ranks = kernels.token_logprobs(logits, token_ids, where)
    assert (logprobs.dtype, ranks.dtype) == (torch.float32, torch.int32)
    torch.testing.assert_close(logprobs.double(), formula(logits, token_ids, asked), rtol=TOLERANCE, atol=TOLERANCE)
    assert ranks.tolist() == [
        int((logits[row] > logits[row, first]).sum()) + 1
        for row, first in zip(asked, token_ids[:, 0].tolist(), strict=True)
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("num_rows", "vocab", "width"), [(1, 1, 1), (3, 97, 5), (2, 300, 65), (2, 9001, 3), (1, 40, 131)]
)
def test_small(
    kernels: KernelSet, num_rows: int, vocab: int, width: int, dtype: torch.dtype, device: torch.device
) -> None:
    check(kernels, draw((num_rows, vocab), dtype, device, seed=1) * 4, None, width)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_large(kernels: KernelSet, dtype: torch.dtype, device: torch.device) -> None:
    check(kernels, draw((70, 151_936), dtype, device, seed=2) * 4, list(range(69, 0, -3)), 65)


@pytest.mark.gpu
def test_offsets_beyond_32_bits(kernels: KernelSet, device: torch.device) -> None:
    logits = torch.zeros((2**31 // 151_936 + 2, 151_936), dtype=torch.bfloat16, device=device)
    logits[-1, 7] = 3.0
    check(kernels, logits, [len(logits) - 1, 0], 4)


def test_rows_are_looked_up_in_a_wider_tensor(kernels: KernelSet, device: torch.device) -> None:
    logits = draw((6, 1200), torch.float32, device, seed=3)[:, 8:950]
    check(kernels, logits, [4, 0, 4, 5], 7)


def test_large_logits_do_not_overflow(kernels: KernelSet, device: torch.device) -> None:
    logits = draw((2, 300), torch.float32, device, seed=4) * 3e4
    check(kernels, logits, None, 4)


def test_impossible_tokens_have_no_probability(kernels: KernelSet, device: torch.device) -> None:
    logits = torch.full((1, 70), -torch.inf, device=device)
    logits[0, [3, 9]] = 1.0
    token_ids = torch.tensor([[9, 3, 5]], device=device)
    logprobs, ranks = kernels.token_logprobs(logits, token_ids, None)
    torch.testing.assert_close(logprobs[0, :2].exp().cpu(), torch.tensor([0.5, 0.5]))
    assert logprobs[0, 2] == -torch.inf and ranks.tolist() == [1]


def test_no_rows(kernels: KernelSet, device: torch.device) -> None:
    logprobs, ranks = kernels.token_logprobs(
        torch.ones((3, 8), device=device),
        torch.empty((0, 2), dtype=torch.int64, device=device),
        torch.empty(0, dtype=torch.int64, device=device),
    )
    assert logprobs.shape == (0, 2) and ranks.shape == (0,)


def test_reference(references: KernelSet) -> None:
    check(references, draw((4, 333), torch.float32, torch.device("cpu"), seed=6), [2, 2, 0], 5)


def test_the_check_can_fail(kernels: KernelSet, device: torch.device) -> None:
    logits = draw((2, 300), torch.float32, device, seed=7)
    token_ids = ask(2, 3, 300, device)
    logprobs, ranks = kernels.token_logprobs(logits, token_ids, None)
    untouched = next(token for token in range(300) if token not in token_ids[1])
    logits[1, untouched] = 9.0
    changed = formula(logits, token_ids, [0, 1])
    torch.testing.assert_close(logprobs[0].double(), changed[0], rtol=TOLERANCE, atol=TOLERANCE)
    assert ((logprobs[1] - changed[1]).abs() > 1.0).all()
    assert kernels.token_logprobs(logits, token_ids, None)[1].tolist() == [ranks[0], ranks[1] + 1]

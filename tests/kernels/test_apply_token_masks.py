"""Masked logits against bits unpacked by NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.kernel_checks import DTYPES, draw

from pagednb.kernels.kernel_set import KernelSet


def random_masks(num_masks: int, vocab: int, *, num_words: int | None = None) -> torch.Tensor:
    """Bits beyond the vocabulary are set at random too: they mean nothing."""
    shape = (num_masks, num_words or -(-vocab // 32))
    words = np.random.default_rng(vocab).integers(-(2**31), 2**31, size=shape, dtype=np.int64)
    words[:1] = 0
    return torch.from_numpy(words.astype(np.int32))


def expected(logits: torch.Tensor, words: torch.Tensor, mask_rows: list[int]) -> torch.Tensor:
    bits = np.unpackbits(words.numpy().view(np.uint8), axis=1, bitorder="little")[:, : logits.shape[1]]
    is_allowed = torch.from_numpy(bits.astype(np.bool_))
    masked = [
        row if mask < 0 else torch.where(is_allowed[mask], row, -torch.inf)
        for row, mask in zip(logits.cpu(), mask_rows, strict=True)
    ]
    return torch.stack(masked)


def check(kernels: KernelSet, vocab: int, mask_rows: list[int], dtype: torch.dtype, device: torch.device) -> None:
    """Rows lie apart, and what lies between them stays as it is."""
    wide = draw((len(mask_rows), vocab + 7), dtype, device, seed=vocab)
    before, logits = wide.clone(), wide[:, 3 : 3 + vocab]
    words = random_masks(max(mask_rows) + 1, vocab, num_words=-(-vocab // 32) + vocab % 2)
    kernels.apply_token_masks(logits, words.to(device), torch.tensor(mask_rows, dtype=torch.int32, device=device))
    assert torch.equal(logits.cpu(), expected(before[:, 3 : 3 + vocab], words, mask_rows))
    assert torch.equal(wide[:, :3], before[:, :3]) and torch.equal(wide[:, 3 + vocab :], before[:, 3 + vocab :])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vocab", [1, 31, 32, 33, 4096, 5001])
def test_small(kernels: KernelSet, vocab: int, dtype: torch.dtype, device: torch.device) -> None:
    check(kernels, vocab, [2, -1, 0, 1, -1, 4, 3], dtype, device)


@pytest.mark.gpu
@pytest.mark.parametrize("vocab", [30_000, 151_936])
def test_large(kernels: KernelSet, vocab: int, device: torch.device) -> None:
    check(kernels, vocab, [*range(1000, 0, -1), -1, 0], torch.bfloat16, device)


@pytest.mark.gpu
def test_rows_beyond_2_to_the_31_elements(kernels: KernelSet, device: torch.device) -> None:
    num_rows, vocab = 15_000, 151_936
    logits = torch.zeros((num_rows, vocab), dtype=torch.bfloat16, device=device)
    words = torch.zeros((1, vocab // 32), dtype=torch.int32, device=device)
    mask_rows = torch.full((num_rows,), -1, dtype=torch.int32, device=device)
    mask_rows[-1] = 0
    kernels.apply_token_masks(logits, words, mask_rows)
    assert torch.isneginf(logits[-1]).all() and not logits[:-1].any()


def test_reference(references: KernelSet) -> None:
    check(references, 77, [0, -1, 3, 2, *range(150)], torch.bfloat16, torch.device("cpu"))
    references.apply_token_masks(torch.ones((0, 5)), random_masks(1, 5), torch.empty(0, dtype=torch.int32))


def test_the_check_can_fail(kernels: KernelSet, device: torch.device) -> None:
    logits, words = draw((2, 64), torch.float32, device, seed=0), random_masks(2, 64)
    unmasked = logits.cpu().clone()
    kernels.apply_token_masks(logits, words.to(device), torch.tensor([1, -1], dtype=torch.int32, device=device))
    words[1, 1] ^= 1 << 5
    assert not torch.equal(logits.cpu(), expected(unmasked, words, [1, -1]))

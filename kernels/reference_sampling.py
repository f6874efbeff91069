"""Sampling in plain torch: the meaning of the sampling kernel, and the CPU engine.

The filters are found here with a sort, in the kernel without one; both keep the same tokens. The random numbers are
Philox4x32-10, computed in int64 so that every bit equals the kernel's: a (seed, position) draws the same token on
every device and in every batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

GREEDY_TEMPERATURE = 1e-5
PHILOX_LANE_WIDTH = 1024
"""Vocabulary index ``v`` takes word ``v // 1024 % 4`` of counter ``v // 4096 * 1024 + v % 1024``: the four words of a
counter serve four contiguous runs, so that a kernel uses every word with plain contiguous loads."""
CHUNK_WIDTH = 4 * PHILOX_LANE_WIDTH
"""A draw takes a chunk of so many tokens by the chunks' masses, then a token of that chunk."""
CHUNK_PURPOSE = 1
"""Counters of the first draw differ from those of the second in this word."""

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_MASKED_AT_ONCE = 64  # rows: unpacked bits and a copy of the logits live at the same time


def apply_token_masks(logits: torch.Tensor, words: torch.Tensor, mask_rows: torch.Tensor) -> None:
    """Set logits to minus infinity, in place, where a row's mask says so.

    Args:
        logits: ``[num_rows, vocab]``, any float dtype.
        words: int32 ``[num_masks, num_words]``; a mask allows token t if bit ``t % 32`` of its word ``t // 32`` is set.
        mask_rows: int32 ``[num_rows]``, which mask is a row's; negative leaves the row alone.
    """
    bits = torch.arange(32, dtype=torch.int32, device=logits.device)
    for rows in (mask_rows >= 0).nonzero().squeeze(1).split(_MASKED_AT_ONCE):
        is_allowed = ((words[mask_rows[rows]].unsqueeze(2) >> bits) & 1).flatten(1)[:, : logits.shape[1]].bool()
        logits[rows] = logits[rows].masked_fill(~is_allowed, -torch.inf)


def sample_tokens(
    logits: torch.Tensor,
    temperature: torch.Tensor,
    top_k: torch.Tensor,
    top_p: torch.Tensor,
    min_p: torch.Tensor,
    seeds: torch.Tensor,
    positions: torch.Tensor,
    *,
    has_filters: bool,
) -> torch.Tensor:
    """Draw one token a row.

    The filters apply in the order min-p, top-k, top-p, the last on the renormalised rest. Each is a threshold: tokens
    that tie with the last one kept are all kept (a sort would keep some by their index).

    Args:
        logits: ``[num_rows, vocab]``, any float dtype (fp32 with filters); ``-inf`` is never drawn.
        temperature: fp32 ``[num_rows]``; below 1e-5 the row takes its largest logit (the first, if tied).
        top_k: int32 ``[num_rows]``, 0 keeps all.
        top_p: fp32 ``[num_rows]``, 1 keeps all.
        min_p: fp32 ``[num_rows]``, relative to the most probable token, 0 keeps all.
        seeds: int64 ``[num_rows]``, key of the random numbers.
        positions: int64 ``[num_rows]``, position of the drawn token in its sequence.
        has_filters: False promises that no sampled row has a top-k, top-p or min-p, and skips them.

    Returns:
        int64 ``[num_rows]``; -1 for a row whose logits are all NaN. With some of them NaN it may be -1 or a token.
    """
    tokens = logits.argmax(dim=-1)
    rows = (temperature >= GREEDY_TEMPERATURE).nonzero().squeeze(1)
    if rows.numel():
        scaled = logits[rows].float() * (1.0 / temperature[rows]).unsqueeze(1)
        if has_filters:
            threshold = filter_threshold(scaled, top_k[rows], top_p[rows], min_p[rows])
            scaled = scaled.masked_fill(scaled < threshold.unsqueeze(1), -torch.inf)
        tokens[rows] = _draw(scaled, seeds[rows], positions[rows])
    chosen = logits.gather(1, tokens.unsqueeze(1)).squeeze(1)
    return tokens.masked_fill(chosen.isnan(), -1)


def _draw(scaled: torch.Tensor, seeds: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Draw a token a row in proportion to ``exp(scaled)``: a chunk, then a token of it, each by Gumbel-max."""
    vocab = scaled.shape[1]
    num_chunks = -(-vocab // CHUNK_WIDTH)
    padded = F.pad(scaled, (0, num_chunks * CHUNK_WIDTH - vocab), value=-torch.inf)
    chunks = padded.view(-1, num_chunks, CHUNK_WIDTH)
    chosen = (chunks.logsumexp(dim=-1) + chunk_noise(seeds, positions, num_chunks)).argmax(dim=-1)
    rest = chunks[torch.arange(len(chosen), device=chosen.device), chosen]  # [num_rows, CHUNK_WIDTH]
    within = (rest + token_noise(seeds, positions, chosen)).argmax(dim=-1)
    return (chosen * CHUNK_WIDTH + within).clamp(max=vocab - 1)


def filter_threshold(
    scaled: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor, min_p: torch.Tensor
) -> torch.Tensor:
    """Return the smallest value of ``scaled`` (logits / temperature) that survives the filters: fp32 ``[num_rows]``."""
    vocab = scaled.shape[1]
    ranked = scaled.sort(dim=-1, descending=True).values
    last = torch.where(top_k > 0, top_k.clamp(max=vocab), vocab).long() - 1
    threshold = torch.maximum(ranked[:, 0] + min_p.log(), ranked.gather(1, last.unsqueeze(1)).squeeze(1))
    mass = torch.exp((ranked - ranked[:, :1]).double()).masked_fill(ranked < threshold.unsqueeze(1), 0.0)
    mass_before = mass.cumsum(dim=-1) - mass
    num_kept = (mass_before < (top_p.double() * mass.sum(dim=-1)).unsqueeze(1)).sum(dim=-1).clamp(min=1)
    nucleus = ranked.gather(1, num_kept.unsqueeze(1) - 1).squeeze(1)
    return torch.where(top_p < 1.0, torch.maximum(threshold, nucleus), threshold)


def chunk_noise(seeds: torch.Tensor, positions: torch.Tensor, num_chunks: int) -> torch.Tensor:
    """Return fp32 ``[num_rows, num_chunks]``, the Gumbel noise by which a row chooses its chunk."""
    counter = torch.arange(num_chunks, device=seeds.device).unsqueeze(0)
    words = philox(seeds.unsqueeze(1), counter, positions.unsqueeze(1), purpose=CHUNK_PURPOSE)
    return _gumbel(words[0])


def token_noise(seeds: torch.Tensor, positions: torch.Tensor, chunks: torch.Tensor) -> torch.Tensor:
    """Return fp32 ``[num_rows, CHUNK_WIDTH]``, the Gumbel noise of the tokens of each row's chunk."""
    lanes = torch.arange(PHILOX_LANE_WIDTH, device=seeds.device)
    counter = chunks.unsqueeze(1) * PHILOX_LANE_WIDTH + lanes
    return _gumbel(torch.cat(philox(seeds.unsqueeze(1), counter, positions.unsqueeze(1)), dim=1))


def _gumbel(words: torch.Tensor) -> torch.Tensor:
    """Return ``-log(-log1p(-u))`` of u in (0, 1), fine-grained near 0, where the largest noise comes from."""
    u = (words.float() * 2.0**-32 + 2.0**-33).clamp(max=1.0 - 2.0**-24)
    series = u * (1.0 + u * (0.5 + u * (1.0 / 3.0 + u * 0.25)))
    return -torch.log(torch.where(u < 0.01, series, -torch.log(1.0 - u)))


def philox(
    seed: torch.Tensor, counter: torch.Tensor, position: torch.Tensor, *, purpose: int = 0
) -> tuple[torch.Tensor, ...]:
    """Return the four 32-bit words of Philox4x32-10 at (counter, low position, high position, purpose), as int64."""
    c0, c1, c2, c3 = counter, position & _MASK, position >> 32 & _MASK, torch.full_like(counter, purpose & _MASK)
    k0, k1 = seed & _MASK, seed >> 32 & _MASK
    for _ in range(_ROUNDS):
        low, high = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]  # int64 wraps, the 64 bits stay right
        c0, c1, c2, c3 = (high >> 32 & _MASK) ^ c1 ^ k0, high & _MASK, (low >> 32 & _MASK) ^ c3 ^ k1, low & _MASK
        k0, k1 = (k0 + _KEY_STEPS[0]) & _MASK, (k1 + _KEY_STEPS[1]) & _MASK
    return c0, c1, c2, c3

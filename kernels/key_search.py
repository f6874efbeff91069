"""Thresholds as keys: fp32 values mapped to integers of the same order, and the exact search for the one that matters.

The weight of values is their count, or their probability mass in units of 2^-42 of the most probable token. Weights add
up as integers, so the order of the values does not matter.
"""

from __future__ import annotations

import triton
import triton.language as tl

MAX_VALUES = 1 << 20
"""Of so many values the mass fits an int64."""


@triton.jit
def scaled_logits(logits: tl.tensor, temperature: tl.tensor) -> tl.tensor:
    """Return logits / temperature, rounded exactly as the reference rounds it."""
    return logits * tl.div_rn(1.0, temperature)


@triton.jit
def order_key(x: tl.tensor) -> tl.tensor:
    """Map fp32 to uint32 of the same order (both zeros to one key)."""
    bits = (x + 0.0).to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) | -2147483648)).to(tl.uint32, bitcast=True)


@triton.jit
def token_mass(scaled: tl.tensor, max_logit: tl.tensor) -> tl.tensor:
    """Return the int64 mass of tokens whose row's largest scaled logit is ``max_logit``."""
    return (tl.exp(scaled - max_logit) * 4398046511104.0).to(tl.int64)


@triton.jit
def target_mass(total: tl.tensor, top_p: tl.tensor) -> tl.tensor:
    """Return the mass that the nucleus must reach, at least that of one token."""
    return tl.maximum(tl.ceil(total.to(tl.float64) * top_p.to(tl.float64)).to(tl.int64), 1)


@triton.jit
def mass_at_or_above(
    values_ptr: tl.tensor,
    temperature: tl.tensor,
    num_values: tl.tensor,
    floor_key: tl.tensor,
    max_logit: tl.tensor,
    BLOCK: tl.constexpr,
) -> tl.tensor:
    """Return the mass of all values at or above a key."""
    mass = tl.zeros([BLOCK], dtype=tl.int64)
    for start in tl.range(0, num_values, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        values = tl.load(values_ptr + cols, mask=cols < num_values, other=float("-inf"))
        scaled = scaled_logits(values, temperature)
        mass += tl.where(order_key(scaled) >= floor_key, token_mass(scaled, max_logit), 0)
    return tl.sum(mass, axis=0)


@triton.jit
def largest_key(
    values_ptr: tl.tensor,
    temperature: tl.tensor,
    num_values: tl.tensor,
    target: tl.tensor,
    floor_key: tl.tensor,
    max_logit: tl.tensor,
    BY_MASS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tl.tensor:
    """Find the largest key at which the weight of the values at or above it reaches ``target``; 0 if none does.

    Two bits a pass, by one program. Values below ``floor_key`` weigh nothing; ``max_logit`` matters to mass alone.
    """
    key = tl.zeros([], dtype=tl.uint32)
    step = key + 1073741824
    for _ in tl.range(0, 16):
        weight1 = tl.zeros([BLOCK], dtype=tl.int64 if BY_MASS else tl.int32)
        weight2, weight3 = weight1, weight1
        for start in tl.range(0, num_values, BLOCK):
            cols = start + tl.arange(0, BLOCK)
            inside = cols < num_values
            scaled = scaled_logits(tl.load(values_ptr + cols, mask=inside, other=float("-inf")), temperature)
            keys = order_key(scaled)
            counted = inside & (keys >= floor_key)
            weight = tl.where(counted, token_mass(scaled, max_logit), 0) if BY_MASS else counted.to(tl.int32)
            weight1 += tl.where(keys >= key + step, weight, 0)
            weight2 += tl.where(keys >= key + 2 * step, weight, 0)
            weight3 += tl.where(keys >= key + 3 * step, weight, 0)
        reached = (tl.sum(weight1, axis=0) >= target).to(tl.uint32)
        reached += (tl.sum(weight2, axis=0) >= target).to(tl.uint32)
        reached += (tl.sum(weight3, axis=0) >= target).to(tl.uint32)
        key += reached * step
        step = step >> 2
    return key

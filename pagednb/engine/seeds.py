"""Seeds of sequences that were given none: they depend on the engine's seed and a counter alone."""

from __future__ import annotations


def mix64(seed: int, counter: int) -> int:
    """Return a well-mixed signed 64-bit number from two numbers (the finaliser of SplitMix64)."""
    mask = 2**64 - 1
    z = (seed * 0xD1342543DE82EF95 + (counter + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return as_int64(z ^ (z >> 31))


def as_int64(number: int) -> int:
    """Return ``number`` modulo 2**64 as a signed number."""
    return (number + 2**63) % 2**64 - 2**63

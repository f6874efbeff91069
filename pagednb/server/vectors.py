"""Vectors as they are sent: of length 1, and as numbers or as base64 of their bytes."""

from __future__ import annotations

import base64

import numpy as np

_SMALLEST = 1e-12
"""Least length that a vector is divided by."""


def of_length_one(vectors: np.ndarray) -> np.ndarray:
    """Return ``vectors``, float32 ``[num_vectors, size]``, each divided by its length."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    divided: np.ndarray = vectors / np.maximum(lengths, _SMALLEST)
    return divided


def as_base64(vector: np.ndarray) -> str:
    """Return the bytes of a vector's float32 numbers, the lowest byte first, as OpenAI sends them."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")

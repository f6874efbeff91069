"""Reads the rope settings of a transformers config; transformers 5 turns older styles into ``rope_parameters``."""

from __future__ import annotations

from typing import Any

from pagednb.errors import ModelLoadError, UnsupportedArchitectureError
from pagednb.layers.rotary import ROPE_TYPES, RopeSpec

_REQUIRED = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
}
_OPTIONAL = {"yarn": ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate")}


def read_rope(config: Any, head_dim: int) -> RopeSpec:
    """Return the rope of a config.

    Raises:
        UnsupportedArchitectureError: a rope type that we do not have, or a rotation of only a part of each head.
        ModelLoadError: a number that the type needs is missing.
    """
    settings = config.rope_parameters
    rope_type = settings["rope_type"]
    if rope_type not in ROPE_TYPES:
        raise UnsupportedArchitectureError(
            f"The model's config has rope type {rope_type!r}; pagednb supports {', '.join(sorted(ROPE_TYPES))}.",
            hint="Use another checkpoint.",
        )
    if settings.get("partial_rotary_factor") not in (None, 1.0):
        raise UnsupportedArchitectureError(
            "The model's config rotates a part of each head only (partial_rotary_factor); pagednb does not.",
            hint="Use another checkpoint.",
        )
    required, optional = _REQUIRED.get(rope_type, ()), _OPTIONAL.get(rope_type, ())
    scaling = {name: settings[name] for name in (*required, *optional) if settings.get(name) is not None}
    for name in required:
        if name not in scaling:
            raise ModelLoadError(
                f"The model's config has rope type {rope_type!r} without {name!r}.", hint="Complete its config.json."
            )
    return RopeSpec(rope_type=rope_type, head_dim=head_dim, theta=settings["rope_theta"], scaling=scaling)


def longest_context(config: Any, rope: RopeSpec) -> int:
    """Return the context that the model is made for.

    Linear scaling counts from ``max_position_embeddings``, YaRN from ``original_max_position_embeddings``; Llama 3.1
    configs already state the scaled length, and "dynamic" is used within the trained length.
    """
    trained: int = config.max_position_embeddings
    if rope.rope_type == "linear":
        return int(trained * rope.scaling["factor"])
    if rope.rope_type == "yarn":
        return max(trained, int(rope.scaling["original_max_position_embeddings"] * rope.scaling["factor"]))
    return trained

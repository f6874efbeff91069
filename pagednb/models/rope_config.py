"""Reads the rope settings of a config: ``rope_parameters`` as transformers 5 writes them, or the names before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pagednb.errors import ModelLoadError, UnsupportedArchitectureError
from pagednb.layers.rotary import ROPE_TYPES, RopeSpec

_DEFAULT_THETA = 10_000.0
_REQUIRED = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
}
_OPTIONAL = {"yarn": ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate")}


def join_rope_settings(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``rope_parameters`` of a raw ``config.json``, whichever names it uses.

    Raises:
        ModelLoadError: they are no JSON object.
        UnsupportedArchitectureError: each kind of layer has its own.
    """
    stored = raw.get("rope_scaling") or raw.get("rope_parameters") or {}
    if not isinstance(stored, dict):
        raise ModelLoadError(f"The model's config has rope settings {stored!r}.", hint="Correct its config.json.")
    if any(isinstance(value, dict) for value in stored.values()):
        raise UnsupportedArchitectureError(
            "The model's config has other rope settings for each kind of layer; pagednb has one for all.",
            hint="Use another checkpoint.",
        )
    rope = {"rope_theta": raw.get("rope_theta", _DEFAULT_THETA), "rope_type": stored.get("type", "default"), **stored}
    for name, source in (
        ("partial_rotary_factor", "partial_rotary_factor"),
        ("original_max_position_embeddings", "max_position_embeddings"),  # only some types look at it
    ):
        if raw.get(source) is not None:
            rope.setdefault(name, raw[source])
    return rope


def read_rope(config: Any, head_dim: int) -> RopeSpec:
    """Return the rope of an architecture's settings.

    Raises:
        UnsupportedArchitectureError: a rope type that we do not have, or a rotation of only a part of each head.
        ModelLoadError: a number that the type needs is missing, or is none.
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
    for name, value in {**scaling, "rope_theta": settings["rope_theta"]}.items():
        if not isinstance(value, int | float):
            raise ModelLoadError(
                f"The model's config has the rope setting {name}={value!r}, which is no number.",
                hint="Correct its config.json.",
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

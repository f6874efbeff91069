"""What an architecture file provides: a spec from a config, and the names its checkpoints use. Data, no tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pagednb.errors import UnsupportedArchitectureError
from pagednb.layers.mlp import Activation
from pagednb.models.model_settings import ModelSettings
from pagednb.models.spec import DecoderSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightNames:
    """Where a checkpoint keeps the tensors of each of our modules (``parameters.py`` lists those).

    Attributes:
        prefix: what the names of a checkpoint may begin with, or not: both kinds are accepted.
        modules: our module -> the checkpoint's modules, without prefix, joined along the output dimension. ``{}``
            stands for the layer's number. One name for a module of several parts: the checkpoint has it fused.
        transposed: our modules whose weights the checkpoint stores as ``[in, out]``.
        ignored: patterns of names, without prefix, that hold nothing to load (buffers of older versions).
    """

    prefix: str
    modules: Mapping[str, tuple[str, ...]]
    transposed: Collection[str] = ()
    ignored: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """One supported architecture.

    Attributes:
        name: as in a config's ``architectures``.
        model_type: as in a config's ``model_type``.
        settings: what its ``config.json`` holds.
        build_spec: settings to our spec; raises UnsupportedArchitectureError for settings we do not have.
        weight_names: names in its checkpoints.
    """

    name: str
    model_type: str
    settings: type[ModelSettings]
    build_spec: Callable[[Any], DecoderSpec]
    weight_names: WeightNames


def require_setting(config: Any, name: str, allowed: Collection[Any]) -> Any:
    """Return the config's setting, or raise UnsupportedArchitectureError if its value is none of ``allowed``."""
    value = getattr(config, name)
    if value not in allowed:
        choices = " or ".join(repr(choice) for choice in allowed)
        raise UnsupportedArchitectureError(
            f"The model's config has {name}={value!r}; pagednb supports {choices}.",
            hint="Use another checkpoint.",
        )
    return value


_ACTIVATIONS: Mapping[str, Activation] = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}


def read_activation(config: Any) -> Activation:
    """Return the activation of a plain MLP, or raise UnsupportedArchitectureError if it is none of ours."""
    return _ACTIVATIONS[require_setting(config, "activation_function", tuple(_ACTIVATIONS))]

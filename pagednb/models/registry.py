"""The supported architectures, and the choice among them by a checkpoint's ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pagednb.errors import UnsupportedArchitectureError, nearest_name
from pagednb.models.architecture import Architecture
from pagednb.models.gpt2 import GPT2
from pagednb.models.llama import LLAMA
from pagednb.models.mistral import MISTRAL
from pagednb.models.opt import OPT
from pagednb.models.qwen2 import QWEN2
from pagednb.models.qwen3 import QWEN3

_ALL = (LLAMA, MISTRAL, QWEN2, QWEN3, GPT2, OPT)
ARCHITECTURES: Mapping[str, Architecture] = {architecture.name: architecture for architecture in _ALL}


def find_architecture(config: Mapping[str, Any]) -> Architecture:
    """Return the architecture that a raw ``config.json`` names; without ``architectures``, its ``model_type`` decides.

    Raises:
        UnsupportedArchitectureError: none of ours; the message lists them and names the nearest.
    """
    names = config.get("architectures") or []
    for name in names:
        if name in ARCHITECTURES:
            return ARCHITECTURES[name]
    model_type = config.get("model_type")
    if not names:
        for architecture in _ALL:
            if architecture.model_type == model_type:
                return architecture
    asked = names[0] if names else str(model_type)
    nearest = nearest_name(asked, ARCHITECTURES)
    supported = f"Supported: {', '.join(ARCHITECTURES)}."
    raise UnsupportedArchitectureError(
        f"The model's architecture {asked!r} is not supported.",
        hint=f"The nearest is {nearest}. {supported}" if nearest else supported,
    )

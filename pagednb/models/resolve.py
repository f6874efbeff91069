"""From the user's options to a model that can be loaded: which folder, spec, dtype, device and limits.

Everything a user can get wrong about a model, short of its weights, is found here, before anything is allocated. The
engine calls it once; runner and loader work from its result.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import torch

from pagednb.config import EMBEDDED_MODEL, EngineConfig
from pagednb.errors import ModelLoadError, NotSupportedYetError, OptionError
from pagednb.models.architecture import Architecture
from pagednb.models.hub import fetch_weights, find_folder
from pagednb.models.model_settings import ModelSettings, read_settings
from pagednb.models.placement import choose_device, choose_dtype
from pagednb.models.registry import find_architecture
from pagednb.models.spec import DecoderSpec

_SAMPLING_DEFAULTS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResolvedModel:
    """A model that is known to be supported, on a device that exists.

    Attributes:
        folder: local folder with config, tokenizer and weights.
        name: as the user gave it; the embedded model has a name of its own.
        revision: commit on the hub; None for local folders.
        settings: what its ``config.json`` holds.
        architecture: our entry for it, with the names of its weights.
        dtype: of weights, activations and KV cache, such as "bfloat16".
        device: "cpu" or "cuda:N".
        eos_token_ids: token ids that end a text; may be empty.
        max_model_len: longest prompt plus output.
        generation_config: the sampling defaults that the model's authors recommend, by SamplingParams' names.
        is_embedded: whether it is the demonstration model inside the package.
    """

    folder: pathlib.Path
    name: str
    revision: str | None
    settings: ModelSettings
    architecture: Architecture
    spec: DecoderSpec
    dtype: str
    device: str
    eos_token_ids: tuple[int, ...]
    max_model_len: int
    generation_config: Mapping[str, Any]
    is_embedded: bool

    @property
    def identity(self) -> str:
        """A string that differs whenever the computed numbers may: for the keys of caches."""
        source = f"{self.name}@{self.revision}" if self.revision else str(self.folder)
        return f"{source}:{self.dtype}"


def resolve_model(config: EngineConfig) -> ResolvedModel:
    """Find the model, check it against what is supported and what this machine has; fetch hub files last.

    Raises:
        ModelLoadError: the folder or its config is missing or broken, or the hub does not give them.
        UnsupportedArchitectureError: an architecture, or a setting of one, that pagednb does not have.
        NotSupportedYetError: a quantized checkpoint.
        OptionError: ``device``, ``dtype`` or ``max_model_len`` do not fit machine and model.
    """
    device = choose_device(config.device)
    folder, revision = _find(config)
    raw = _read_json(folder / "config.json")
    architecture = find_architecture(raw)
    if raw.get("quantization_config"):
        raise NotSupportedYetError("Quantized checkpoints are not supported yet.", hint="Use the unquantized model.")
    settings = read_settings(architecture.settings, raw)
    spec = architecture.build_spec(settings)
    dtype = choose_dtype(config.dtype, settings.dtype, device)
    max_model_len = _choose_max_model_len(config.max_model_len, spec)
    if revision is not None and config.load_format != "dummy":
        assert config.model is not None
        fetch_weights(
            str(config.model),
            revision=revision,
            download_dir=_text(config.download_dir),
            load_format=config.load_format,
        )
    generation = _read_json(folder / "generation_config.json") if (folder / "generation_config.json").exists() else {}
    return ResolvedModel(
        folder=folder,
        name=EMBEDDED_MODEL if config.model is None else str(config.model),
        revision=revision,
        settings=settings,
        architecture=architecture,
        spec=spec,
        dtype=str(dtype).removeprefix("torch."),
        device=str(device),
        eos_token_ids=_eos_token_ids(generation, settings),
        max_model_len=max_model_len,
        generation_config={name: generation[name] for name in _SAMPLING_DEFAULTS if generation.get(name) is not None},
        is_embedded=config.model is None,
    )


def torch_dtype(resolved: ResolvedModel) -> torch.dtype:
    """Return the dtype that ``resolved.dtype`` names."""
    dtype = getattr(torch, resolved.dtype)
    assert isinstance(dtype, torch.dtype), resolved.dtype
    return dtype


def _find(config: EngineConfig) -> tuple[pathlib.Path, str | None]:
    if config.model is None:
        folder, revision = pathlib.Path(str(importlib.resources.files("pagednb") / "embedded_model" / "weights")), None
    else:
        folder, revision = find_folder(
            str(config.model), revision=config.revision, download_dir=_text(config.download_dir)
        )
    if config.revision is not None and revision is None:
        raise OptionError(
            f"revision={config.revision!r} is of no use: the model is the local folder {str(folder)!r}.",
            hint="Leave it out, or give a hub id.",
        )
    return folder, revision


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelLoadError(
            f"The model folder {str(path.parent)!r} has no {path.name}.",
            hint="Give the folder that transformers' save_pretrained wrote.",
        ) from error
    except ValueError as error:
        raise ModelLoadError(f"{str(path)!r} is not valid JSON: {error}.", hint="Fetch the model again.") from error
    if not isinstance(content, dict):
        raise ModelLoadError(f"{str(path)!r} holds no JSON object.", hint="Fetch the model again.")
    return content


def _choose_max_model_len(wish: int | None, spec: DecoderSpec) -> int:
    if wish is not None and wish > spec.max_position_embeddings:
        raise OptionError(
            f"max_model_len={wish} exceeds the {spec.max_position_embeddings} positions that the model is made for.",
            hint=f"Use at most {spec.max_position_embeddings}, or set a rope scaling in the model's config.json.",
        )
    return wish or spec.max_position_embeddings


def _eos_token_ids(generation: Mapping[str, Any], settings: ModelSettings) -> tuple[int, ...]:
    ids = generation.get("eos_token_id")
    ids = settings.eos_token_id if ids is None else ids
    listed = ids if isinstance(ids, list) else [] if ids is None else [ids]
    if not all(isinstance(token_id, int) for token_id in listed):
        raise ModelLoadError(
            f"The model's eos_token_id={ids!r} is not a token id or a list of them.",
            hint="Correct its generation_config.json.",
        )
    return tuple(dict.fromkeys(listed))


def _text(path: Any) -> str | None:
    return None if path is None else str(path)

"""The models that load without a network: the embedded one, those in the hub's local cache, those in a folder.

Looks at folders only; nothing is fetched, no weights are opened, and torch is not imported.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import pathlib
from collections.abc import Iterator

from pagednb.config import EMBEDDED_MODEL

_WEIGHTS = ("*.safetensors", "*.bin")


@dataclasses.dataclass(frozen=True)
class LocalModel:
    """A model that loads without a network. ``architecture`` is what its ``config.json`` names."""

    name: str
    architecture: str
    num_bytes: int


def local_models() -> list[LocalModel]:
    """Return the embedded model and the hub's cached ones, by name."""
    cached = (_model(name, folder) for name, folder in _snapshots())
    return [_embedded(), *_by_name(model for model in cached if model.num_bytes)]


def models_below(folder: pathlib.Path) -> list[LocalModel]:
    """Return the models in a folder and the folders below it, named by their paths. Raises OSError."""
    configs = [path for path in folder.rglob("config.json") if not _is_hidden(path.relative_to(folder))]
    models = (_model(str(path.parent), path.parent) for path in configs)
    return _by_name(model for model in models if model.num_bytes)


def model_names() -> list[str]:
    """Return the names alone, quickly enough for the Tab key."""
    return list(dict.fromkeys([EMBEDDED_MODEL, *sorted(name for name, _ in _snapshots())]))


def _embedded() -> LocalModel:
    folder = importlib.resources.files("pagednb") / "embedded_model" / "weights"
    return _model(EMBEDDED_MODEL, pathlib.Path(str(folder)))


def _model(name: str, folder: pathlib.Path) -> LocalModel:
    return LocalModel(name, _architecture(folder), _num_weight_bytes(folder))


def _by_name(models: Iterator[LocalModel]) -> list[LocalModel]:
    return sorted(models, key=lambda model: model.name.lower())


def _is_hidden(path: pathlib.Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _snapshots() -> Iterator[tuple[str, pathlib.Path]]:
    """Yield hub id and newest snapshot of each cached repository that may be a model."""
    from huggingface_hub import constants

    for repository in pathlib.Path(constants.HF_HUB_CACHE).glob("models--*"):
        snapshots = [path.parent for path in repository.glob("snapshots/*/config.json")]
        if snapshots:
            newest = max(snapshots, key=lambda path: path.stat().st_mtime)
            yield repository.name.removeprefix("models--").replace("--", "/"), newest


def _num_weight_bytes(folder: pathlib.Path) -> int:
    """Return the size of the weights in one format, the one that would be loaded."""
    for pattern in _WEIGHTS:
        # a link whose file is gone is no weight
        if sizes := [path.stat().st_size for path in folder.glob(pattern) if path.exists()]:
            return sum(sizes)
    return 0


def _architecture(folder: pathlib.Path) -> str:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return str(config["architectures"][0])
    except (OSError, ValueError, LookupError, TypeError):
        return "unknown"

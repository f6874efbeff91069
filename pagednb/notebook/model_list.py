"""The models at hand: the embedded one, those in the hub's local cache, and the one that is loaded.

Looks at folders only; nothing is fetched and no weights are opened.
"""

from __future__ import annotations

import dataclasses
import html
import importlib.resources
import json
import pathlib
from collections.abc import Iterator

from pagednb import runtime

EMBEDDED = "pagednb/embedded"
"""The name that ``%llm status`` gives to the demonstration model inside the package."""

_WEIGHTS = ("*.safetensors", "*.bin")


@dataclasses.dataclass(frozen=True)
class LocalModel:
    """A model that loads without a network. ``architecture`` is what its ``config.json`` names."""

    name: str
    architecture: str
    num_bytes: int


@dataclasses.dataclass(frozen=True, repr=False)
class ModelList:
    """What ``%llm list`` returns; ``loaded`` is the name of the loaded model, which may lie elsewhere."""

    models: tuple[LocalModel, ...]
    loaded: str | None

    @property
    def names(self) -> list[str]:
        """Names that ``%llm load`` takes, each once."""
        return list(dict.fromkeys([*(model.name for model in self.models), *([self.loaded] if self.loaded else [])]))

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        yield "model", "architecture", "size", ""
        for model in self.models:
            size = f"{model.num_bytes / 1e9:,.2f} GB"
            yield model.name, model.architecture, size, "loaded" if model.name == self.loaded else ""
        if self.loaded is not None and self.loaded not in {model.name for model in self.models}:
            yield self.loaded, "", "", "loaded"

    def __repr__(self) -> str:
        rows = list(self._rows())
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        head, *rows = ([html.escape(cell) for cell in row] for row in self._rows())
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        return f"<table class='pagednb-models'><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>{body}</table>"


def list_models() -> ModelList:
    """Look at what is there now."""
    return ModelList((_embedded(), *sorted(_cached(), key=lambda model: model.name.lower())), _loaded_name())


def model_names() -> list[str]:
    """Return the names alone, quickly enough for the Tab key."""
    return list(dict.fromkeys([EMBEDDED, *sorted(name for name, _ in _snapshots())]))


def _loaded_name() -> str | None:
    return runtime.get_engine().resolved.name if runtime.is_loaded() else None


def _embedded() -> LocalModel:
    folder = pathlib.Path(str(importlib.resources.files("pagednb") / "embedded_model" / "weights"))
    return LocalModel(EMBEDDED, _architecture(folder), _num_weight_bytes(folder))


def _cached() -> Iterator[LocalModel]:
    for name, folder in _snapshots():
        if num_bytes := _num_weight_bytes(folder):
            yield LocalModel(name, _architecture(folder), num_bytes)


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

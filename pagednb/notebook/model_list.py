"""What ``%llm list`` shows: the models that load without a network, and the one that is loaded."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterator

from pagednb import runtime
from pagednb.engine.status_table import bytes_text
from pagednb.models.local_models import LocalModel, local_models


@dataclasses.dataclass(frozen=True, repr=False)
class ModelList:
    """What ``%llm list`` returns; ``loaded`` is the name of the loaded model, which may lie elsewhere."""

    models: tuple[LocalModel, ...]
    loaded: str | None
    is_asleep: bool

    @property
    def names(self) -> list[str]:
        """Names that ``%llm load`` takes, each once."""
        return list(dict.fromkeys([*(model.name for model in self.models), *([self.loaded] if self.loaded else [])]))

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        yield "model", "architecture", "size", ""
        state = "asleep" if self.is_asleep else "loaded"
        for model in self.models:
            size = bytes_text(model.num_bytes)
            yield model.name, model.architecture, size, state if model.name == self.loaded else ""
        if self.loaded is not None and self.loaded not in {model.name for model in self.models}:
            yield self.loaded, "", "", state

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
    engine = runtime.get_engine() if runtime.is_loaded() else None
    name = engine.resolved.name if engine else None
    return ModelList(tuple(local_models()), name, is_asleep=engine is not None and engine.asleep is not None)

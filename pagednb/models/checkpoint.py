"""A folder's weights as one table of stored tensors, in a single file or in shards listed by an index."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Iterator, Mapping

from pagednb.config import LoadFormat
from pagednb.errors import ModelLoadError, WeightError
from pagednb.models.stored_tensor import StoredTensor, open_file

_SAFETENSORS = ("model.safetensors.index.json", "model.safetensors")
_PICKLES = ("pytorch_model.bin.index.json", "pytorch_model.bin", "model.bin")
_CANDIDATES: Mapping[str, tuple[str, ...]] = {
    "auto": (*_SAFETENSORS, *_PICKLES),
    "safetensors": _SAFETENSORS,
    "pt": _PICKLES,
}


@contextlib.contextmanager
def open_checkpoint(folder: pathlib.Path, load_format: LoadFormat) -> Iterator[Mapping[str, StoredTensor]]:
    """Open every weight file of ``folder`` once and give its tensors by name; the files close at the end.

    Safetensors are preferred to ``.bin`` under "auto", an index to a single file.

    Raises:
        ModelLoadError: there are no weights of that format, or a shard is missing.
        WeightError: a file is truncated or broken, or two files hold a tensor of the same name.
    """
    tensors: dict[str, StoredTensor] = {}
    with contextlib.ExitStack() as open_files:
        for path in _weight_files(folder, load_format):
            file = open_file(path)
            open_files.callback(file.close)
            twice = tensors.keys() & file.tensors.keys()
            if twice:
                raise WeightError(f"Tensor {min(twice)!r} is in {path.name} and in another shard.")
            tensors.update(file.tensors)
        yield tensors


def _weight_files(folder: pathlib.Path, load_format: LoadFormat) -> list[pathlib.Path]:
    candidates = _CANDIDATES[load_format]
    found = next((folder / name for name in candidates if (folder / name).is_file()), None)
    if found is None:
        raise ModelLoadError(
            f"The model folder {str(folder)!r} has no weights: none of {', '.join(candidates)}.",
            hint="Fetch them, or use load_format='dummy' for random weights.",
        )
    if found.suffix != ".json":
        return [found]
    try:
        names = set(json.loads(found.read_text(encoding="utf-8"))["weight_map"].values())
        return [folder / name for name in sorted(names)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightError(f"{found} is not an index of weights.", hint="Fetch the file again.") from error

"""From a model's name to a folder with its files: a local folder as it is, a hub id through ``huggingface_hub``.

Config and tokenizer come first, so that an unsupported model is refused before gigabytes of weights are fetched.
"""

from __future__ import annotations

import pathlib

import huggingface_hub
from huggingface_hub import errors as hub_errors

from pagednb.errors import ModelLoadError

_METADATA = ("*.json", "*.jinja", "*.model", "*.txt")
_FORMAT_PATTERNS = {"safetensors": ("*.safetensors",), "pt": ("*.bin",)}
# other tools' copies of the same weights
_IGNORED = ("original/*", "onnx/*", "consolidated*", "*.msgpack", "training_args.bin", "runs/*")


def find_folder(model: str, *, revision: str | None, download_dir: str | None) -> tuple[pathlib.Path, str | None]:
    """Return a folder that holds the model's config and tokenizer, and the hub revision it has (None if local).

    Raises:
        ModelLoadError: no such folder, or the hub does not give it.
    """
    local = pathlib.Path(model).expanduser()
    if local.is_dir():
        return local.resolve(), None
    if _is_path(model):
        raise ModelLoadError(f"The model folder {model!r} does not exist.", hint="Check the path, or give a hub id.")
    folder = _download(model, revision, download_dir, _METADATA)
    return folder, folder.name  # snapshots are named by their commit


def fetch_weights(model: str, *, revision: str, download_dir: str | None, load_format: str) -> None:
    """Fetch the weights of a hub model: safetensors, or ``.bin`` files only where there are none of those.

    Raises:
        ModelLoadError: the hub does not give them.
    """
    formats = ("safetensors", "pt") if load_format == "auto" else (load_format,)
    for name in formats:
        patterns = _FORMAT_PATTERNS[name]
        folder = _download(model, revision, download_dir, patterns)
        if any(path for pattern in patterns for path in folder.glob(pattern)):
            return


def _is_path(model: str) -> bool:
    return model.startswith((".", "/", "~")) or "\\" in model or model.count("/") > 1


def _download(model: str, revision: str | None, download_dir: str | None, patterns: tuple[str, ...]) -> pathlib.Path:
    where = f"{model!r}" if revision is None else f"{model!r} at revision {revision!r}"
    try:
        folder = huggingface_hub.snapshot_download(
            model,
            revision=revision,
            cache_dir=download_dir,
            allow_patterns=list(patterns),
            ignore_patterns=list(_IGNORED),
        )
    except hub_errors.HFValidationError as error:
        raise ModelLoadError(
            f"{model!r} is neither a folder nor a hub id.", hint="A hub id looks like 'Qwen/Qwen3-0.6B'."
        ) from error
    except hub_errors.GatedRepoError as error:
        raise ModelLoadError(
            f"Access to {where} on the hub needs its owner's permission.",
            hint="Ask for it on the model's page, then set HF_TOKEN to your access token.",
        ) from error
    except (hub_errors.RepositoryNotFoundError, hub_errors.RevisionNotFoundError) as error:
        raise ModelLoadError(
            f"{where} is neither a local folder nor a model on the hub.",
            hint="Check the name; a private model needs an access token in HF_TOKEN.",
        ) from error
    except (OSError, hub_errors.EntryNotFoundError, hub_errors.HTTPError) as error:  # the last: of the HTTP client
        raise ModelLoadError(
            f"{where} could not be fetched from the hub, and the local cache does not hold it: {_first_line(error)}",
            hint="Check the network (and HF_HUB_OFFLINE), or give the path of a folder that holds the model.",
        ) from error
    return pathlib.Path(folder)


def _first_line(error: Exception) -> str:
    """Return what went wrong as a sentence that another may follow."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if line.endswith((".", "!", "?")) else f"{line}."

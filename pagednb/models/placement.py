"""Which device and which dtype a model gets: the user's wish against what this machine has."""

from __future__ import annotations

import re

import torch

from pagednb.errors import OptionError

_ALIASES = {"float": "float32", "half": "float16"}
_BFLOAT16_CAPABILITY = (8, 0)


def choose_device(wish: str) -> torch.device:
    """Return the device: "auto" is the current GPU if there is one, otherwise the CPU.

    Raises:
        OptionError: an unknown device, or one that this machine lacks.
    """
    if wish == "cpu" or (wish == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    match = re.fullmatch(r"cuda(?::(\d+))?", "cuda" if wish == "auto" else wish)
    if match is None:
        raise OptionError(f"Device {wish!r} is not supported.", hint="Use 'auto', 'cpu', 'cuda' or 'cuda:N'.")
    if not torch.cuda.is_available():
        raise OptionError(
            f"Device {wish!r} was asked for, but torch sees no CUDA device.",
            hint="Use device='cpu', or install a torch build that fits the GPU's driver.",
        )
    index = torch.cuda.current_device() if match[1] is None else int(match[1])
    if index >= torch.cuda.device_count():
        raise OptionError(
            f"Device {wish!r} does not exist: this machine has {torch.cuda.device_count()} CUDA device(s).",
            hint="Numbers start at 0.",
        )
    return torch.device("cuda", index)


def choose_dtype(wish: str, checkpoint_dtype: str | None, device: torch.device) -> torch.dtype:
    """Return the dtype of weights, activations and KV cache.

    "auto" is float32 on the CPU. On a GPU it is the checkpoint's dtype if that has 16 bits, otherwise bfloat16;
    float16 stands in for bfloat16 on GPUs older than Ampere.

    Raises:
        OptionError: a dtype that the device does not have.
    """
    if wish == "auto":
        return _automatic_dtype(checkpoint_dtype, device)
    dtype = getattr(torch, _ALIASES.get(wish, wish))
    assert isinstance(dtype, torch.dtype), wish
    if device.type == "cpu" and dtype == torch.float16:
        raise OptionError("dtype float16 is not supported on the CPU.", hint="Use dtype='float32' or 'bfloat16'.")
    if device.type == "cuda" and dtype == torch.bfloat16 and not _has_bfloat16(device):
        name = torch.cuda.get_device_name(device)
        raise OptionError(f"dtype bfloat16 is not supported on {name}.", hint="Use dtype='float16' or 'auto'.")
    return dtype


def _automatic_dtype(checkpoint_dtype: str | None, device: torch.device) -> torch.dtype:
    if device.type == "cpu":
        return torch.float32
    if checkpoint_dtype == "float16" or not _has_bfloat16(device):
        return torch.float16
    return torch.bfloat16


def _has_bfloat16(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= _BFLOAT16_CAPABILITY

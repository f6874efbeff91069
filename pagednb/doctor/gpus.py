"""The GPUs as the driver and as torch see them: facts first, then what is wrong with them."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess

from pagednb.doctor.finding import Finding

_DRIVER_FILE = pathlib.Path("/proc/driver/nvidia/version")
_UTILIZATION = 0.9  # the engine's own default
_MIN_ROOM_BYTES = 2**30
_TIMEOUT_S = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU of this process; ``capability`` as (major, minor)."""

    name: str
    capability: tuple[int, int]
    total_bytes: int
    free_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class GpuFacts:
    """What there is.

    Attributes:
        driver: version of NVIDIA's driver; None where there is none.
        cuda: version of CUDA that torch was built for; None for a build without.
        visible: what CUDA_VISIBLE_DEVICES says, None if nothing.
        gpus: those that torch can use.
        holders: lines that say which process holds how much memory; the driver tells them only outside containers.
    """

    driver: str | None
    cuda: str | None
    visible: str | None
    gpus: tuple[Gpu, ...]
    holders: tuple[str, ...]


def gpu_facts() -> GpuFacts:
    """Look, through torch and the driver's own tools."""
    import torch

    gpus = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free_bytes, total_bytes = torch.cuda.mem_get_info(index)
        name, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
        gpus.append(Gpu(name=name, capability=capability, total_bytes=total_bytes, free_bytes=free_bytes))
    return GpuFacts(
        driver=_driver(),
        cuda=torch.version.cuda,
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        gpus=tuple(gpus),
        holders=_ask_driver("--query-compute-apps=pid,process_name,used_memory"),
    )


def gpu_findings(facts: GpuFacts) -> list[Finding]:
    """Judge the facts."""
    if facts.gpus:
        head = Finding(f"NVIDIA driver {facts.driver or 'unknown'}, torch built for CUDA {facts.cuda}")
        found = [head, *(_judged(index, gpu, facts.holders) for index, gpu in enumerate(facts.gpus))]
        return [*found, *(Finding(f"held by process {holder}") for holder in facts.holders)]
    if facts.driver is None:
        return [Finding("No NVIDIA GPU: models run on the CPU. That is enough for the model inside the package.")]
    return [_unseen(facts)]


def _judged(index: int, gpu: Gpu, holders: tuple[str, ...]) -> Finding:
    free, total = gpu.free_bytes / 2**30, gpu.total_bytes / 2**30
    text = f"GPU {index}: {gpu.name}, compute capability {gpu.capability[0]}.{gpu.capability[1]}, "
    text += f"{free:,.1f} of {total:,.1f} GiB free"
    room_bytes = gpu.total_bytes * _UTILIZATION - (gpu.total_bytes - gpu.free_bytes)
    if room_bytes >= _MIN_ROOM_BYTES:
        return Finding(text)
    who = "the processes below" if holders else "whoever holds it (processes of other containers are not seen)"
    return Finding(text, f"End {who}, choose another GPU with --device cuda:N, or raise --gpu-memory-utilization.")


def _unseen(facts: GpuFacts) -> Finding:
    text = f"There is an NVIDIA driver ({facts.driver}), and torch sees no GPU"
    if facts.visible is not None and facts.visible.strip() in ("", "-1"):
        return Finding(text, f"CUDA_VISIBLE_DEVICES={facts.visible!r} hides them all: unset it.")
    if facts.cuda is None:
        return Finding(
            f"{text}: it is a build without CUDA",
            "Install torch for CUDA: pip install torch --index-url https://download.pytorch.org/whl/cu128",
        )
    return Finding(
        f"{text}: it was built for CUDA {facts.cuda}",
        "Update the driver, or, in a container, start it with the GPUs: docker run --gpus all.",
    )


def _driver() -> str | None:
    told = _ask_driver("--query-gpu=driver_version")
    if told:
        return told[0]
    if not _DRIVER_FILE.exists():
        return None
    found = re.search(r"\b\d+\.\d+(\.\d+)?\b", _DRIVER_FILE.read_text(encoding="utf-8", errors="replace"))
    return found[0] if found else "unknown"


def _ask_driver(query: str) -> tuple[str, ...]:
    """Return the lines of nvidia-smi's answer; none where it is not there or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, query, "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())

"""The Triton kernels: whether they can be compiled here, and which are compiled already."""

from __future__ import annotations

import importlib.resources
import os
import pathlib
import re
import shutil
import sysconfig
from collections.abc import Mapping

from pagednb.doctor.finding import Finding
from pagednb.doctor.machine import folder_finding

_KERNEL = re.compile(r"^def (\w+_kernel)\(", re.MULTILINE)
_COMPILED = (".cubin", ".hsaco")


def kernel_findings(environment: Mapping[str, str], *, has_gpu: bool) -> list[Finding]:
    """Look at what compiling takes and at Triton's cache; without a GPU nothing is compiled."""
    if not has_gpu:
        return [Finding("Without a GPU no kernel is compiled: plain torch computes instead.")]
    folder = cache_folder(environment)
    found = [*_compiler_findings(environment), folder_finding("compiled kernels", folder, "TRITON_CACHE_DIR")]
    names, compiled = kernel_names(), compiled_counts(folder)
    ready = [f"{name} ({compiled[name]})" for name in names if name in compiled]
    missing = [name for name in names if name not in compiled]
    if ready:
        found.append(Finding(f"compiled, with the number of variants: {', '.join(ready)}"))
    if missing:
        found.append(Finding(f"not compiled yet, the first use does it in seconds: {', '.join(missing)}"))
    return found


def cache_folder(environment: Mapping[str, str]) -> pathlib.Path:
    """Return where Triton keeps what it compiled."""
    if given := environment.get("TRITON_CACHE_DIR"):
        return pathlib.Path(given)
    home = environment.get("TRITON_HOME")
    return (pathlib.Path(home) if home else pathlib.Path.home()) / ".triton" / "cache"


def kernel_names() -> list[str]:
    """Return the names of our kernels, read from their source: nothing is imported."""
    files = importlib.resources.files("pagednb.kernels").iterdir()
    sources = [file.read_text(encoding="utf-8") for file in files if file.name.endswith(".py")]
    return sorted({name for source in sources for name in _KERNEL.findall(source)})


def compiled_counts(folder: pathlib.Path) -> dict[str, int]:
    """Return how many compiled variants of each kernel a cache holds, everybody's kernels included."""
    counts: dict[str, int] = {}
    for path in folder.glob("*/*"):
        if path.suffix in _COMPILED:
            counts[path.stem] = counts.get(path.stem, 0) + 1
    return counts


def _compiler_findings(environment: Mapping[str, str]) -> list[Finding]:
    found = []
    if environment.get("TRITON_INTERPRET") == "1":
        found.append(Finding("TRITON_INTERPRET=1 makes every kernel a thousand times slower", "Unset it."))
    compiler = environment.get("CC") or next(filter(None, map(shutil.which, ("gcc", "clang", "cc"))), None)
    if compiler is None:
        found.append(Finding("There is no C compiler, which Triton needs", "Install one: apt-get install gcc"))
    header = pathlib.Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        remedy = "Install them: apt-get install python3-dev (of this Python's version)"
        found.append(Finding(f"Python's headers, which Triton needs, are not in {os.fspath(header.parent)}", remedy))
    if compiler is not None and header.exists():
        found.append(Finding(f"C compiler {compiler} and Python's headers are there"))
    return found

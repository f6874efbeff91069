"""The libraries that pagednb needs, with their versions, and those that it can use."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterable

from pagednb.doctor.finding import Finding

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)\s*>=\s*(?P<version>[\d.]+)\s*(?:;\s*(?P<marker>.*))?")
_EXTRA = re.compile(r"""extra\s*==\s*["'](?P<extra>\w+)["']""")
_EXTRA_TO_USE = {
    "serve": "pagednb serve, pnb.serve() and run-batch",
    "checkpoint": "checkpoints and Parquet files",
    "plots": "plots of evaluations",
}
_SHOWN = ("torch", "triton", "transformers", "pandas", "ipykernel")


def package_findings(requirements: Iterable[str] | None = None) -> list[Finding]:
    """Look at what is installed; ``requirements`` are pagednb's own unless given."""
    if requirements is None:
        try:
            requirements = importlib.metadata.requires("pagednb") or ()
        except importlib.metadata.PackageNotFoundError:
            return [Finding("pagednb runs from its source folder: what it requires is not known here"), _versions()]
    needed: list[Finding] = []
    extras: dict[str, list[str]] = {extra: [] for extra in _EXTRA_TO_USE}
    for match in filter(None, map(_REQUIREMENT.fullmatch, requirements)):
        extra = _EXTRA.search(match["marker"] or "")
        lack = _lack(match["name"], match["version"])
        if extra is None:
            if lack and ("sys_platform" not in (match["marker"] or "") or sys.platform in match["marker"]):
                needed.append(Finding(lack, f'Install it: pip install "{match["name"]}>={match["version"]}"'))
        elif extra["extra"] in extras and lack:
            extras[extra["extra"]].append(lack)
    return [_versions(), *needed, *(_extra_finding(extra, lacks) for extra, lacks in extras.items())]


def _versions() -> Finding:
    return Finding(", ".join(f"{name} {_installed(name) or 'not installed'}" for name in _SHOWN))


def _extra_finding(extra: str, lacks: list[str]) -> Finding:
    use = _EXTRA_TO_USE[extra]
    if not lacks:
        return Finding(f"{use}: ready")
    return Finding(f'{use}: not ready, {"; ".join(lacks)}. If wanted: pip install "pagednb[{extra}]"')


def _lack(name: str, version: str) -> str | None:
    """Return what is wrong with a library, if anything."""
    installed = _installed(name)
    if installed is None:
        return f"{name} is not installed"
    return f"{name} is {installed}, and {version} is needed" if _numbers(installed) < _numbers(version) else None


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the release of a version, without what marks a build or a candidate."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()

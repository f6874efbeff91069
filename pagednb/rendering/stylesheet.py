"""The stylesheet of rendered markdown."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def stylesheet() -> str:
    """Return CSS for ``.pnb-markdown``: JupyterLab's colours; where it sets none, light or dark as the system is."""
    return files("pagednb.rendering").joinpath("markdown.css").read_text(encoding="utf-8")

"""One ES module of several: a front end gets a widget's code as one text, which cannot import its neighbours.

The sources are modules that editors and browsers understand as they are. Of their syntax two forms are known here:
``import { a, b } from "./name.js";`` in one line, and ``export`` before a declaration. Names are those of one scope in
the end, so no two files may declare the same; a browser refuses a module where they do.
"""

from __future__ import annotations

import pathlib
import re

_IMPORT = re.compile(r'^import \{ \w+(?:, \w+)* \} from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function|class|const|function) )", re.MULTILINE)
_OTHER_IMPORT = re.compile(r"^import\b.*|^export (?!default\b).*", re.MULTILINE)


def joined_module(folder: pathlib.Path) -> str:
    """Return ``index.js`` of ``folder`` behind all that it imports, each file once and behind those that it needs.

    Raises:
        ValueError: an import or export of another form, or a circle of imports.
        OSError: a file is not there.
    """
    parts: dict[str, str] = {}
    _add(("index",), folder, parts)
    return "\n".join(parts.values())


def _add(way: tuple[str, ...], folder: pathlib.Path, parts: dict[str, str]) -> None:
    """Add the last file of ``way``, each file of which imports the next."""
    name = way[-1]
    source = (folder / f"{name}.js").read_text(encoding="utf-8")
    for other in _IMPORT.findall(source):
        if other in way:
            raise ValueError(f"{' -> '.join((*way, other))}: files of {folder.name}/ import each other in a circle.")
        if other not in parts:
            _add((*way, other), folder, parts)
    text = _IMPORT.sub("", source)
    if name != "index":
        text = _EXPORT.sub("", text)
    if unknown := _OTHER_IMPORT.search(text):
        raise ValueError(f"{folder.name}/{name}.js: {unknown.group()!r} is no form that can be joined.")
    parts[name] = text

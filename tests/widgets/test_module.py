"""Several ES modules as one: each once and in time; what cannot be joined is refused."""

from __future__ import annotations

import pathlib

import pytest

from pagednb.widgets.module import joined_module

INDEX = 'import { b } from "./b.js";\nimport { c } from "./c.js";\n\nexport default { render: () => b + c };\n'


def write(folder: pathlib.Path, **files: str) -> pathlib.Path:
    for name, text in files.items():
        (folder / f"{name}.js").write_text(text)
    return folder


def test_each_file_comes_once_and_behind_those_it_needs(tmp_path: pathlib.Path) -> None:
    b = 'import { ONE } from "./a.js";\nexport const b = ONE;\n'
    c = 'import { ONE, two } from "./a.js";\nexport class c {}\nexport async function d() {}\n'
    a = "export const ONE = 1;\nexport function two() {\n  return 'export const'; // import\n}\n"
    text = joined_module(write(tmp_path, a=a, b=b, c=c, index=INDEX, unused="nothing {"))
    assert "import {" not in text and "unused" not in text and text.count("const ONE") == 1
    lines = text.split("\n")
    starts = ("const ONE", "function two", "const b", "class c", "async function d", "export default")
    places = [next(place for place, line in enumerate(lines) if line.startswith(start)) for start in starts]
    assert places == sorted(places)
    assert "  return 'export const'; // import" in lines


@pytest.mark.parametrize(
    "line",
    [
        'import b from "./b.js";',
        'import "./b.js";',
        'import { b as c } from "./b.js";',
        'import { b } from "elsewhere";',
        'export { b } from "./b.js";',
        "export * from './b.js';",
        "export let b = 1;",
    ],
)
def test_other_forms_are_refused(line: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="no form that can be joined"):
        joined_module(write(tmp_path, b="export const b = 1;\n", index=f"{line}\nexport default {{}};\n"))


def test_circles_and_missing_files_are_refused(tmp_path: pathlib.Path) -> None:
    write(tmp_path, b='import { c } from "./c.js";\n', c='import { b } from "./b.js";\n', index=INDEX)
    with pytest.raises(ValueError, match=r"index -> b -> c -> b: files of .* in a circle"):
        joined_module(tmp_path)
    with pytest.raises(FileNotFoundError):
        joined_module(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["chat", "monitor"])
def test_no_file_of_a_widget_is_left_out(name: str) -> None:
    """But what only says what messages look like."""
    folder = pathlib.Path(__file__).parents[2] / "widgets" / "static" / name
    text = joined_module(folder)
    for path in folder.glob("*.js"):
        first = path.read_text().split("*/")[0]
        assert (first in text) == (path.name != "shapes.js"), path.name

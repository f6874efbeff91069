"""pagednb in a real JupyterLab on the embedded model: what a person sees who opens a notebook and runs it."""

from __future__ import annotations

import itertools
import pathlib
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from support.lab_notebook import Lab

NOTEBOOKS = pathlib.Path(__file__).resolve().parents[2] / "notebooks"
LOAD = "%load_ext pagednb\nimport pagednb as pnb\npnb.load(device='cpu');"
LONG_ANSWER = "%%generate --max-tokens 400 --ignore-eos\nTell me a story about a parcel."
WITHOUT_END = LONG_ANSWER.replace("400", "4000")


def is_growing(texts: list[str]) -> bool:
    return all(later.startswith(earlier.rstrip("▌ \n")) for earlier, later in itertools.pairwise(texts))


@pytest.mark.slow
def test_the_quickstart_runs(lab: Lab, screenshot: Callable[..., pathlib.Path]) -> None:
    notebook = lab.open(NOTEBOOKS / "01_quickstart.ipynb")
    notebook.run()
    assert notebook.errors == []
    screenshot("quickstart")


def test_an_answer_grows_below_its_cell(lab: Lab) -> None:
    notebook = lab.open([LOAD, LONG_ANSWER])
    notebook.run(0)
    cell = notebook.cell(1)
    with cell.watched() as seen:
        cell.run()
    print(len(seen), seen[:5], seen[-1][-200:])


def test_stop_ends_an_answer_and_keeps_it(lab: Lab, screenshot: Callable[..., pathlib.Path]) -> None:
    notebook = lab.open([LOAD, WITHOUT_END, "1 + 1"])
    notebook.run(0)
    cell = notebook.cell(1)
    cell.start()
    expect(cell.output).to_contain_text(re.compile(r"\w+ \w+ \w+"))
    notebook.interrupt()
    cell.wait()
    print(repr(cell.text[-300:]))
    screenshot("interrupted")
    notebook.run(2)
    assert notebook.cell(2).text.split()[-1] == "2"

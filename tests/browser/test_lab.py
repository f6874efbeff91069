"""pagednb in a real JupyterLab on the embedded model: what a person sees who opens a notebook and runs it."""

from __future__ import annotations

import itertools
import pathlib
import re

from playwright.sync_api import expect
from support.lab_notebook import Lab

NOTEBOOKS = pathlib.Path(__file__).resolve().parents[2] / "notebooks"
LOAD = "%load_ext pagednb\nimport pagednb as pnb\npnb.load(device='cpu');"
LONG_ANSWER = "%%generate --max-tokens 300 --ignore-eos\nTell me a story about a parcel."
WITHOUT_END = LONG_ANSWER.replace("300", "1900")
DRAWN = """import pagednb as pnb
answer = "```python\\nx = 1\\n```\\n\\n| a | b | c |\\n|---|:-:|--:|\\n| 1 | 2 | 3 |"
messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": answer}]"""


def assert_growing(texts: list[str]) -> None:
    """Several texts, each the one before and something more. The cursor at the end comes and goes."""
    grown = [text.rstrip("▌ \n") for text in texts]
    grown = [text for text in grown if text]
    assert len(set(grown)) >= 3, texts
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(grown)), texts


def test_the_quickstart_runs(lab: Lab) -> None:
    notebook = lab.open(NOTEBOOKS / "01_quickstart.ipynb")
    notebook.run()
    assert notebook.errors == []
    page = notebook.page
    expect(page.get_by_text(re.compile(r"^accuracy +9\d\.\d% of 500 tickets"))).to_be_visible()
    expect(page.get_by_text("No model is loaded.")).to_be_visible()
    answers = page.locator(".jp-OutputArea-output .pnb-markdown")
    expect(answers).to_have_text([re.compile("continuous batching"), "shipping"])
    expect(page.locator(".jp-OutputArea table")).to_have_count(4)


def test_an_answer_grows_below_its_cell(lab: Lab) -> None:
    notebook = lab.open([LOAD, LONG_ANSWER])
    notebook.run(0)
    cell = notebook.cell(1)
    with cell.watched() as seen:
        cell.run()
    assert_growing(seen)
    expect(cell.output).to_contain_text("stopped by the length limit after 300 tokens")
    assert "▌" not in cell.text


def test_stop_ends_an_answer_and_keeps_it(lab: Lab) -> None:
    notebook = lab.open([LOAD, WITHOUT_END, "print(pnb.status().scheduler.num_running, 'running')"])
    notebook.run(0)
    cell = notebook.cell(1)
    cell.start()
    words = cell.output.locator(".pnb-markdown")
    expect(words).to_contain_text(re.compile(r"\w+ \w+ \w+"))
    before = words.inner_text().rstrip("▌ \n")
    notebook.interrupt()
    cell.wait()
    expect(words).to_contain_text(before)
    expect(words).to_contain_text("interrupted")
    assert [error.partition(":")[0] for error in notebook.errors] == ["KeyboardInterrupt"]
    notebook.run(2)
    assert "0 running" in notebook.cell(2).text


def test_an_answer_survives_a_reload(lab: Lab) -> None:
    notebook = lab.open([LOAD, "%%generate\nWhat can pagednb do?", "%generate Where is my parcel?"])
    notebook.run(0, 1)
    notebook.reload()
    expect(notebook.cell(1).output).to_contain_text("continuous batching")
    notebook.run(2)
    assert notebook.errors == []


def test_code_and_tables_look_as_in_the_chat(lab: Lab) -> None:
    """JupyterLab has rules of its own for what stands below cells: no frame around code, all cells to the right."""
    notebook = lab.open([DRAWN, "pnb.chat(messages=messages).freeze()", "pnb.chat(messages=messages).turns[-1]"])
    notebook.run()
    for index in (1, 2):
        output = notebook.cell(index).output
        for property, value in {
            "white-space": "pre",
            "border-top-style": "solid",
            "padding-left": r"1\d(\.\d+)?px",
        }.items():
            expect(output.locator("pre")).to_have_css(property, re.compile(rf"^{value}$"))
        cells = output.locator("tbody td")
        for place, side in enumerate(["start", "center", "right"]):
            expect(cells.nth(place)).to_have_css("text-align", side)


def test_no_model_outlives_its_kernel(lab: Lab) -> None:
    notebook = lab.open([LOAD, "import pagednb as pnb; pnb.status()"])
    notebook.run()
    expect(notebook.cell(1).output).to_contain_text("pagednb/embedded")
    notebook.restart()
    notebook.run(1)
    expect(notebook.cell(1).output).to_contain_text("No model is loaded.")

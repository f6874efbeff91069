"""The pictures of the README, taken in a real JupyterLab on the embedded model: ``make screenshots`` keeps them."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect
from support.lab_notebook import Lab, LabNotebook

MAX_BYTES = 300_000
LOAD = "%env PAGEDNB_PROGRESS=0\n%load_ext pagednb\nimport pandas as pd\nimport pagednb as pnb\n"
TICKETS = """from pagednb.embedded_model import tickets_path
pd.set_option("display.max_colwidth", 72)
pnb.load(device="cpu")
tickets = pd.read_csv(tickets_path())[["text"]]"""
LABEL = """labelled = tickets.llm.classify(
    "Ticket: {text}\\nWhich team?",
    labels=["billing", "technical", "shipping", "account", "other"],
    into="team",
)
labelled.head(8)"""
BUSY = """llm = pnb.load(device="cpu", num_gpu_blocks_override=184, max_num_seqs=12)
instruction = "You route tickets of a shop to one of its teams, and answer with the name of that team. " * 3
prompts = [f"{instruction} Ticket {number}: where is my parcel?" for number in range(60)]
params = [pnb.SamplingParams(max_tokens=40 + 4 * number, ignore_eos=True) for number in range(60)]"""


@pytest.fixture
def page_options() -> dict[str, Any]:
    return {"viewport": {"width": 1040, "height": 1200}, "device_scale_factor": 2}


@pytest.fixture
def picture(screenshot: Callable[..., pathlib.Path]) -> Callable[[LabNotebook, str, int], None]:
    def take(notebook: LabNotebook, name: str, index: int) -> None:
        """Keep one cell, without the frame of the chosen cell, which is the last."""
        notebook.code_cells[-1].prompt.click()
        path = screenshot(f"readme/{name}", notebook.cell(index).root)
        assert path.stat().st_size < MAX_BYTES

    return take


def test_the_labelling_cell(lab: Lab, picture: Callable[..., None]) -> None:
    notebook = lab.open([LOAD + TICKETS, LABEL, "", ""])
    notebook.run(0, 1)
    expect(notebook.cell(1).output.locator("tbody tr")).to_have_count(8)
    picture(notebook, "labelling", 1)


def test_the_chat(lab: Lab, picture: Callable[..., None]) -> None:
    notebook = lab.open([LOAD + "pnb.load(device='cpu')", "chat = pnb.chat(temperature=0)\nchat", "", ""])
    notebook.run(0, 1)
    chat = notebook.cell(1).output.locator(".pnb-chat")
    for number, question in enumerate(["What can pagednb do?", "Tell me a story"], start=1):
        composer = chat.locator('[data-role="composer"]')
        composer.fill(question)
        composer.press("Enter")
        expect(chat.locator('article[data-role="assistant"][data-state="done"]')).to_have_count(number)
    picture(notebook, "chat", 1)


def test_the_monitor(lab: Lab, picture: Callable[..., None]) -> None:
    notebook = lab.open([LOAD + BUSY, "pnb.monitor()", "llm.generate(prompts, params);", ""])
    notebook.run(0, 1)
    monitor = notebook.cell(1).output.locator(".pnb-monitor")
    expect(monitor.locator("canvas")).to_be_visible()
    notebook.cell(2).start()
    expect(monitor.get_by_text(re.compile(r"12 running .* [1-9]\d finished"))).to_be_visible()
    picture(notebook, "monitor", 1)

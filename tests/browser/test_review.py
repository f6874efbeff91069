"""A review by hand in a real JupyterLab: buttons and choices reach the frame, and a reload loses nothing."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable

from playwright.sync_api import Locator, expect
from support.lab_notebook import Lab, LabNotebook

CELLS = [
    """%load_ext pagednb
import pandas as pd
import pagednb as pnb
from pagednb.embedded_model import tickets_path
pnb.load(device="cpu")
tickets = pd.read_csv(tickets_path())[["text"]].head(40)
teams = ["billing", "technical", "shipping", "account", "other"]
labelled = tickets.llm.classify("Ticket: {text}\\nWhich team?", labels=teams, into="team")""",
    "review = labelled.llm.review('team', below=1.0)\nreview",
    "review.frame['team_reviewed'].dropna().tolist()",
]


def line(notebook: LabNotebook, row: int) -> Locator:
    """The line of a row: its button, choice and text."""
    return notebook.cell(1).output.locator(".widget-hbox", has=notebook.page.get_by_role("combobox")).nth(row)


def reviewed(notebook: LabNotebook, count: int) -> Locator:
    """What the table says of its state."""
    return notebook.cell(1).output.get_by_text(re.compile(rf"^{count} of \d+ reviewed"))


def test_decisions_reach_the_frame(lab: Lab, screenshot: Callable[..., pathlib.Path]) -> None:
    notebook = lab.open(CELLS)
    notebook.run(0, 1)
    line(notebook, 0).get_by_role("button", name="Accept").click()
    expect(line(notebook, 0).get_by_role("button")).to_have_text("✓ accepted")
    other = "billing" if line(notebook, 1).get_by_role("combobox").input_value() != "billing" else "other"
    line(notebook, 1).get_by_role("combobox").select_option(other)
    expect(line(notebook, 1).get_by_role("button")).to_have_text("✓ changed")
    expect(reviewed(notebook, 2)).to_be_visible()
    screenshot("review", notebook.cell(1).root)
    notebook.run(2)
    assert f"'{other}'" in notebook.cell(2).text and notebook.cell(2).text.count("'") == 4

    notebook.reload()
    expect(reviewed(notebook, 2)).to_be_visible()
    expect(line(notebook, 1).get_by_role("button")).to_have_text("✓ changed")
    notebook.cell(1).output.get_by_role("button", name="Undo").click()
    expect(reviewed(notebook, 1)).to_be_visible()
    assert notebook.errors == []

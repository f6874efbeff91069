"""Rendered notebooks, opened cold: they are whole without a kernel, and fetch nothing."""

from __future__ import annotations

import pathlib
import subprocess
import sys

from playwright.sync_api import Page, expect

NOTEBOOKS = pathlib.Path(__file__).resolve().parents[2] / "notebooks"


def test_rendered_notebooks_need_nothing_else(page: Page, tmp_path: pathlib.Path) -> None:
    named = [NOTEBOOKS / "01_quickstart.ipynb", NOTEBOOKS / "03_chat.ipynb"]
    command = [sys.executable, NOTEBOOKS / "render.py", *named, "--output", tmp_path]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    page.goto((tmp_path / "index.html").as_uri())
    expect(page.get_by_role("link")).to_have_text(["Five minutes with pagednb", "Talk to the model in your kernel"])
    page.get_by_role("link", name="Talk to the model").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Talk to the model in your kernel")
    expect(page.locator(".jp-OutputArea-output").last).to_contain_text("Who are you?")
    assert page.locator("script, iframe").count() == 0
    page.get_by_role("link", name="All notebooks").click()
    page.get_by_role("link", name="Five minutes").click()
    expect(page.get_by_text("of 500 tickets")).to_be_visible()

"""The chat in a real JupyterLab on the embedded model, used as a person uses it."""

from __future__ import annotations

import itertools
import pathlib
import re
from collections.abc import Callable

from playwright.sync_api import Locator, expect
from support.lab_notebook import WATCH, Lab, LabNotebook

LOAD = "import pagednb as pnb\npnb.load(device='cpu');"
TWO_CELLS = [LOAD, "chat = pnb.chat(name='lab', temperature=0)\nchat"]
ENDLESS = [LOAD, "chat = pnb.chat(temperature=0, ignore_eos=True)\nchat", "print(chat.turns[-1].state)"]
SLOW_MS = 120_000


class LabChat:
    """The first chat on the page."""

    def __init__(self, notebook: LabNotebook) -> None:
        self.notebook = notebook
        self.root = notebook.page.locator(".pnb-chat").first
        self.composer = self.root.locator('[data-role="composer"]')
        self.turns = self.root.locator("article")
        self.answers = self.root.locator('article[data-role="assistant"] [data-part="answer"]')

    def ask(self, text: str) -> None:
        """Type a question and press Enter; return when the kernel has taken it."""
        num_turns = self.turns.count()
        self.composer.click()
        self.composer.press_sequentially(text)
        self.composer.press("Enter")
        expect(self.turns).to_have_count(num_turns + 2)

    def action(self, name: str, within: Locator | None = None) -> Locator:
        return (within or self.root).locator(f'[data-action="{name}"]')

    def wait(self) -> None:
        """Wait until the answer is over."""
        expect(self.action("send")).to_be_visible(timeout=SLOW_MS)


def open_chat(lab: Lab, cells: list[str]) -> LabChat:
    notebook = lab.open(cells)
    notebook.run(0, 1)
    chat = LabChat(notebook)
    expect(chat.composer).to_be_visible()
    return chat


def test_two_turns_are_seen_to_grow(lab: Lab, screenshot: Callable[..., pathlib.Path]) -> None:
    chat = open_chat(lab, TWO_CELLS)
    for number, question in enumerate(["Who are you?", "Tell me a story"]):
        chat.ask(question)
        assert chat.answers.count() == number + 1
        watch = chat.answers.last.evaluate_handle(WATCH)
        chat.wait()
        seen = [text for text in watch.evaluate("(watch) => watch.end()") if text]
        assert len(set(seen)) >= 3
        assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(seen))
    expect(chat.turns).to_have_count(4)
    expect(chat.answers.last).to_contain_text("block of memory")
    expect(chat.root.locator('[data-role="counters"]')).to_contain_text("cached")
    screenshot("chat-lab", chat.root)


def test_stop_keeps_what_came_and_cells_run_meanwhile(lab: Lab) -> None:
    chat = open_chat(lab, ENDLESS)
    chat.ask("Tell me a story")
    expect(chat.answers.last).to_have_text(re.compile(r"\w+ \w+ \w+"), timeout=SLOW_MS)
    chat.notebook.run(2)
    assert "streaming" in chat.notebook.cell(2).text
    before = chat.answers.last.inner_text()
    chat.composer.press("Escape")
    expect(chat.turns.last).to_contain_text("Stopped")
    assert chat.answers.last.inner_text().startswith(before)
    chat.notebook.run(2)
    assert "stopped" in chat.notebook.cell(2).text


def test_edit_and_branch(lab: Lab) -> None:
    chat = open_chat(lab, TWO_CELLS)
    chat.ask("Who are you?")
    chat.wait()
    question = chat.turns.first
    question.hover()
    chat.action("edit", question).click()
    editor = question.locator("textarea")
    editor.fill("Tell me a story")
    editor.press("Enter")
    expect(chat.answers.last).to_contain_text("Once there was", timeout=SLOW_MS)
    chat.wait()
    branch = chat.turns.first.locator('[data-role="branch"]')
    expect(branch).to_have_text("2/2")
    chat.action("previous", chat.turns.first).click()
    expect(branch).to_have_text("1/2")
    expect(chat.answers.last).to_contain_text("tiny demonstration model")
    chat.action("regenerate", chat.turns.last).click()
    expect(chat.turns.last.locator('[data-role="branch"]')).to_have_text("2/2", timeout=SLOW_MS)
    assert chat.notebook.errors == []


def test_keys_belong_to_the_chat(lab: Lab) -> None:
    chat = open_chat(lab, TWO_CELLS)
    cell = chat.notebook.cell(1)
    before = cell.prompt.inner_text()
    chat.composer.click()
    chat.composer.press_sequentially("one")
    chat.composer.press("Shift+Enter")
    chat.composer.press_sequentially("two dd")  # "d d" deletes a cell where the notebook hears it
    expect(chat.composer).to_have_value("one\ntwo dd")
    expect(cell.prompt).to_have_text(before)
    expect(chat.notebook.page.locator(".jp-Notebook-cell")).to_have_count(2)
    chat.action("options").press("Enter")
    expect(chat.root.get_by_role("region", name="Options")).to_be_visible()
    expect(chat.composer).to_have_value("one\ntwo dd")


def test_the_theme_is_followed(lab: Lab, screenshot: Callable[..., pathlib.Path]) -> None:
    chat = open_chat(lab, TWO_CELLS)
    chat.ask("Who are you?")
    chat.wait()
    colour = "root => getComputedStyle(root).backgroundColor"
    light = chat.root.evaluate(colour)
    chat.notebook.set_theme("JupyterLab Dark")
    assert chat.root.evaluate(colour) != light
    screenshot("chat-lab-dark", chat.root)


def test_a_restart_ends_the_chat(lab: Lab) -> None:
    chat = open_chat(lab, ENDLESS)
    chat.ask("Tell me a story")
    expect(chat.answers.last).to_have_text(re.compile(r"\w+ \w+ \w+"), timeout=SLOW_MS)
    chat.notebook.restart()
    expect(chat.turns.last).to_contain_text("Stopped")
    chat.composer.fill("Are you there?")
    chat.composer.press("Enter")
    expect(chat.root).to_contain_text("This chat ended with its kernel.")
    expect(chat.composer).to_have_value("Are you there?")


def test_a_reloaded_page_shows_the_conversation_and_the_rest_of_the_answer(lab: Lab) -> None:
    chat = open_chat(lab, ENDLESS)
    chat.ask("Tell me a story")
    expect(chat.answers.last).to_have_text(re.compile(r"\w+ \w+ \w+"), timeout=SLOW_MS)
    before = chat.answers.last.inner_text()
    chat.notebook.reload()
    again = LabChat(chat.notebook)
    expect(again.answers.last).to_contain_text(before[:20], timeout=SLOW_MS)
    expect(again.turns.first).to_contain_text("Tell me a story")
    shown = again.answers.last.inner_text()
    expect(again.answers.last).not_to_have_text(shown, timeout=SLOW_MS)  # it goes on
    again.action("stop").click()
    expect(again.turns.last).to_contain_text("Stopped")


def test_asked_in_the_cell_that_shows_it(lab: Lab) -> None:
    notebook = lab.open([LOAD, "chat = pnb.chat(temperature=0)\ndisplay(chat)\nchat.ask('Tell me a story');"])
    notebook.run(0)
    notebook.cell(1).run()
    chat = LabChat(notebook)
    expect(chat.answers).to_have_text(re.compile("Once there was.*used again"))

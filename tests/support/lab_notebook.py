"""A notebook open in JupyterLab, used as a person uses it: cells are clicked and run by keys, buttons are pressed.

Nothing here sleeps: every method waits for what the page shows.
"""

from __future__ import annotations

import pathlib
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import nbformat
from playwright.sync_api import Locator, Page, expect
from support.jupyter_lab import JupyterLab

RUN_TIMEOUT_MS = 180_000
"""For a cell: the first one starts a kernel and imports torch, on two busy cores."""

WATCH = """(element) => {
  const seen = [element.textContent];
  const look = () => { if (seen.at(-1) !== element.textContent) seen.push(element.textContent); };
  const observer = new MutationObserver(look);
  observer.observe(element, { subtree: true, childList: true, characterData: true });
  return { seen, end: () => { look(); observer.disconnect(); return seen; } };
}"""


KERNEL_IS_READY = """() => {
  const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
  return kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""

ERRORS = """() => [...window.jupyterapp.shell.currentWidget.content.widgets]
  .flatMap((cell) => cell.model.outputs?.toJSON() ?? [])
  .filter((output) => output.output_type === "error")
  .map((output) => `${output.ename}: ${output.evalue}`)"""


class LabCell:
    """One code cell, counted among all cells from 0."""

    def __init__(self, page: Page, root: Locator) -> None:
        self._page = page
        self.root = root
        self.prompt = root.locator(".jp-InputArea-prompt")
        self.output = root.locator(".jp-Cell-outputWrapper")

    def start(self) -> None:
        """Run the cell as Shift+Enter does; return once JupyterLab has sent it."""
        before = self.prompt.inner_text()
        self.prompt.click()
        self._page.keyboard.press("Control+Enter")
        expect(self.prompt).not_to_have_text(before)

    def wait(self) -> None:
        """Wait until the cell has run to its end, whatever the end is."""
        expect(self.prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=RUN_TIMEOUT_MS)

    def run(self) -> None:
        """Run the cell to its end."""
        self.start()
        self.wait()

    @property
    def text(self) -> str:
        """What stands below the cell."""
        return self.output.inner_text()

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """Collect every text that stands below the cell meanwhile, in order and without repetitions, into a list."""
        watch = self.output.evaluate_handle(WATCH)
        seen: list[str] = []
        yield seen
        seen.extend(watch.evaluate("(watch) => watch.end()"))


class LabNotebook:
    """The notebook that is open on ``page``."""

    def __init__(self, page: Page, lab: JupyterLab, path: pathlib.Path) -> None:
        self.page = page
        self.path = path
        self._url = f"{lab.url}/doc/tree/{path.name}"
        self._num_cells = len(nbformat.read(path, as_version=4).cells)

    def open(self) -> None:
        """Load the page; return when the kernel is ready."""
        self.page.goto(self._url)
        self.wait_ready()

    def reload(self) -> None:
        """Save, and load the page anew, as a person does who has lost it; the kernel lives on."""
        self.command("docmanager:save")
        expect(self.page.locator(".jp-Document")).not_to_have_class(re.compile("jp-mod-dirty"))
        self.page.reload()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until cells are drawn and the kernel is idle."""
        expect(self.page.locator(".jp-Notebook-cell")).to_have_count(self._num_cells, timeout=RUN_TIMEOUT_MS)
        self.page.wait_for_function(KERNEL_IS_READY, timeout=RUN_TIMEOUT_MS)

    def cell(self, index: int) -> LabCell:
        """The cell of this number, markdown included."""
        return LabCell(self.page, self.page.locator(".jp-Notebook-cell").nth(index))

    @property
    def code_cells(self) -> list[LabCell]:
        """All code cells from top to bottom."""
        return [LabCell(self.page, root) for root in self.page.locator(".jp-CodeCell").all()]

    def run(self, *indices: int) -> None:
        """Run these cells one after the other, all code cells without any; each must succeed."""
        errors = self.errors
        for cell in [self.cell(index) for index in indices] or self.code_cells:
            cell.run()
            assert self.errors == errors

    @property
    def errors(self) -> list[str]:
        """What cells failed with, asked of JupyterLab: its page shows a traceback just as it shows stderr."""
        return self.page.evaluate(ERRORS)

    def interrupt(self) -> None:
        """Press the toolbar's Stop button."""
        self.page.locator("[data-jp-item-name=interrupt]").get_by_role("button").click()

    def restart(self) -> None:
        """Restart the kernel, and say yes to the question."""
        self.page.locator("[data-jp-item-name=restart]").get_by_role("button").click()
        with self.page.expect_response(re.compile("/api/kernels/.*/restart")):
            self.page.get_by_role("button", name="Confirm Kernel Restart").click()
        self.wait_ready()

    def set_theme(self, name: str) -> None:
        """Switch to "JupyterLab Light" or "JupyterLab Dark"."""
        self.command("apputils:change-theme", theme=name)
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-name", name)

    def command(self, name: str, **arguments: str) -> None:
        """Execute a command of JupyterLab, as a menu does."""
        self.page.evaluate("([name, args]) => window.jupyterapp.commands.execute(name, args)", [name, arguments])


class Lab:
    """JupyterLab on the test's page. ``server`` tells which kernels run."""

    def __init__(self, page: Page, server: JupyterLab, name: str) -> None:
        self.page = page
        self.server = server
        self._name = name

    def open(self, cells: Sequence[str] | pathlib.Path) -> LabNotebook:
        """Open a notebook of these code cells, or a copy of the one at a path, with a kernel of its own."""
        path = self.server.folder / f"{self._name}.ipynb"
        if isinstance(cells, pathlib.Path):
            shutil.copy(cells, path)
        else:
            _write(path, cells)
        notebook = LabNotebook(self.page, self.server, path)
        notebook.open()
        return notebook


def _write(path: pathlib.Path, cells: Sequence[str]) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(notebook, path)

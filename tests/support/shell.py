"""A real IPython shell in which a failing cell fails the test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import RichOutput, capture_output
from traitlets.config import Config


class RaisingShell:
    """Runs cells; what they show is kept in ``outputs``, ``stdout`` and ``stderr`` of the last one."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.outputs: list[RichOutput] = []
        self.stdout = ""
        self.stderr = ""

    @property
    def names(self) -> dict[str, Any]:
        return self.shell.user_ns

    def run(self, cell: str) -> Any:
        """Run a cell and return its value. Raises whatever the cell raises."""
        with capture_output() as captured:
            result = self.shell.run_cell(cell)
        self.outputs, self.stdout, self.stderr = captured.outputs, captured.stdout, captured.stderr
        result.raise_error()
        return result.result


@contextlib.contextmanager
def raising_shell() -> Iterator[RaisingShell]:
    """Make the process's one shell, without history on disk, and remove it afterwards."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=config)
    try:
        yield RaisingShell(shell)
    finally:
        InteractiveShell.clear_instance()

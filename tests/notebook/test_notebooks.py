"""The notebooks: clean in the repository, and run from top to bottom by the command that ``make demo`` uses."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import nbformat
import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MIN_ACCURACY = 95.0


def execute(notebook: pathlib.Path, output: pathlib.Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, FOLDER / "execute.py", notebook, "--output", output]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_kept_in_the_repository(path: pathlib.Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_summarises(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    done = execute(path, tmp_path)
    assert done.returncode == 0, done.stderr
    executed = nbformat.read(tmp_path / path.name, as_version=4)
    outputs = [output for cell in executed.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert done.stdout.endswith(f"Executed notebook: {tmp_path / path.name}\n")
    if path.stem == "01_quickstart":
        assert_quickstart_labels(done.stdout)


def assert_quickstart_labels(summary: str) -> None:
    accuracy = re.search(r"^accuracy +([\d.]+)% of 500 tickets$", summary, re.MULTILINE)
    assert accuracy and float(accuracy[1]) >= MIN_ACCURACY, summary
    speed = re.search(r"^speed +([\d,]+) rows/s, ([\d,]+) tokens/s$", summary, re.MULTILINE)
    assert speed and all(int(figure.replace(",", "")) > 0 for figure in speed.groups()), summary
    assert re.search(r"^ +text +gold +team$", summary, re.MULTILINE), summary


def test_a_failing_cell_fails_the_command(tmp_path: pathlib.Path) -> None:
    cells = [nbformat.v4.new_code_cell("print('fine')"), nbformat.v4.new_code_cell("1 / 0")]
    path = tmp_path / "failing.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    done = execute(path, tmp_path / "out")
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stderr

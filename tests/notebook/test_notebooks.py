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
    checks = {
        "01_quickstart": assert_quickstart_labels,
        "02_dataframe": assert_labelling_story,
        "03_chat": assert_chat_kept,
        "04_how_it_works": assert_blocks_explained,
    }
    checks[path.stem](done.stdout)


def assert_quickstart_labels(summary: str) -> None:
    accuracy = re.search(r"^accuracy +([\d.]+)% of 500 tickets$", summary, re.MULTILINE)
    assert accuracy and float(accuracy[1]) >= MIN_ACCURACY, summary
    speed = re.search(r"^speed +([\d,]+) rows/s, ([\d,]+) tokens/s$", summary, re.MULTILINE)
    assert speed and all(int(figure.replace(",", "")) > 0 for figure in speed.groups()), summary
    assert re.search(r"^ +text +gold +team$", summary, re.MULTILINE), summary


def assert_labelling_story(summary: str) -> None:
    """The figures agree with each other, however they were counted."""
    [evaluated] = figures(r"^accuracy +([\d.]+)% of 500 rows", summary)
    alone, num_reviewed, final = figures(
        r"^accuracy +model alone ([\d.]+)%, after (\d+) rows of review ([\d.]+)%$", summary
    )
    [num_wrong] = figures(r"^wrong +(\d+) labels of 500$", summary)
    num_below, num_found = figures(r"below 0.7 +(\d+) .* (\d+) of the wrong ones$", summary)
    assert MIN_ACCURACY <= evaluated == alone < final
    assert evaluated == pytest.approx(100 - num_wrong / 5, abs=0.06)
    assert num_below == num_reviewed and final == pytest.approx(evaluated + num_found / 5, abs=0.11)
    confusion = re.findall(r"^(?:billing|technical|shipping|account|other)((?: +\d+){5})$", summary, re.MULTILINE)
    assert sum(int(row.split()[index]) for index, row in enumerate(confusion)) == 500 - num_wrong
    assert figures(r"where there is one ([\d.]+)% of \d+$", summary)[0] >= 80
    assert figures(r"^sentiment as a label ([\d.]+)%$", summary)[0] >= 90


def assert_chat_kept(summary: str) -> None:
    """Nothing is lost on the way to a file and back; a conversation that goes on finds its beginning in the cache."""
    assert re.search(r"^messages +4 saved, 4 loaded, the same: True$", summary, re.MULTILINE), summary
    assert figures(r"^versions +(\d+) of the first question$", summary) == (2,)
    num_prompt, num_cached = figures(r"^last +(\d+) prompt tokens, (\d+) of them cached, \d+ new", summary)
    assert 0 < num_cached < num_prompt


def assert_blocks_explained(summary: str) -> None:
    """What the pictures teach is true of the numbers beside them."""
    num_tokens, num_slots = figures(r"^tokens +(\d+) in (\d+) slots$", summary)
    assert 0 <= num_slots - num_tokens < 16
    held, used = figures(r"^blocks +(\d+) in five block tables, (\d+) in memory$", summary)
    asked, found = figures(r"^prompts +(\d+) tokens, (\d+) of them found", summary)
    assert used < held and found > asked / 2
    tables = [
        list(map(int, table.split(","))) for table in re.findall(r"^  answer \d+ +\[(.*)\]$", summary, re.MULTILINE)
    ]
    num_prompt, num_full, num_more = figures(
        r"^prompt +(\d+) tokens: (\d+) full blocks and (\d+) tokens more$", summary
    )
    assert len(tables) == 4 and num_prompt == 16 * num_full + num_more
    full, copied = zip(*((table[: int(num_full)], table[int(num_full)]) for table in tables), strict=True)
    assert all(blocks == full[0] for blocks in full) and len(set(copied)) == 4
    [steps, _], [in_batches] = (
        figures(r"^steps +(\d+) for (\d+) tokens", summary),
        figures(r"^in batches +(\d+)", summary),
    )
    assert steps < in_batches
    assert figures(r"^preemptions +(\d+)$", summary)[0] > 0
    assert figures(r"^answers +(\d+) of 6 are the same", summary) == (6,)
    assert figures(r"^blocks +(\d+) in \d+ statuses$", summary) == (48,)


def figures(pattern: str, text: str) -> tuple[float, ...]:
    """The groups of a pattern that occurs once."""
    [found] = re.finditer(pattern, text, re.MULTILINE)
    return tuple(map(float, found.groups()))


def test_a_failing_cell_fails_the_command(tmp_path: pathlib.Path) -> None:
    cells = [nbformat.v4.new_code_cell("print('fine')"), nbformat.v4.new_code_cell("1 / 0")]
    path = tmp_path / "failing.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    done = execute(path, tmp_path / "out")
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stderr

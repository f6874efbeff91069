"""Run a notebook from top to bottom without a browser, keep the executed copy, print what its summary cells show.

    python notebooks/execute.py notebooks/01_quickstart.ipynb --output .cache/demo

The kernel is this very interpreter, whatever kernels are installed on the machine. A cell tagged ``summary`` is one
whose output is worth printing here. Fails, with the cell's own traceback, when a cell fails.
"""

from __future__ import annotations

import argparse
import os
import pathlib

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

CELL_TIMEOUT_S = 300


def execute(path: pathlib.Path) -> NotebookNode:
    """Return the notebook at ``path`` with its outputs. Raises nbclient's CellExecutionError when a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    own_interpreter = KernelSpecManager(kernel_dirs=[])  # no installed kernel in sight: python3 is sys.executable
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=own_interpreter)
    folder = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, km=manager, resources=folder, timeout=CELL_TIMEOUT_S)
    client.extra_arguments = ["--log-level=ERROR"]  # no advice on transports between the results
    client.execute(env={**os.environ, "PAGEDNB_PROGRESS": "0"})  # a finished bar says nothing in a saved notebook
    return notebook


def summary_text(notebook: NotebookNode) -> str:
    """Join the plain text of all outputs of the cells tagged ``summary``."""
    cells = [cell for cell in notebook.cells if "summary" in cell.metadata.get("tags", ())]
    texts = [_plain_text(output) for cell in cells for output in cell.outputs]
    return "\n\n".join(text.rstrip() for text in texts if text.strip())


def _plain_text(output: NotebookNode) -> str:
    return str(output.get("text") or output.get("data", {}).get("text/plain", ""))


def main() -> None:
    """Execute the notebook named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder for the executed copy")
    args = parser.parse_args()
    executed = execute(args.notebook.resolve())
    args.output.mkdir(parents=True, exist_ok=True)
    copy = args.output / args.notebook.name
    nbformat.write(executed, copy)
    print(summary_text(executed))
    print(f"\nExecuted notebook: {copy}")


if __name__ == "__main__":
    main()

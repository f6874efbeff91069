"""Run notebooks on the embedded model and write each as a page of HTML, with an index.

    python notebooks/render.py --output build/docs

The pages need no network: nothing is fetched from elsewhere, and a widget shows the still picture that it keeps in
saved notebooks. Fails when a cell fails.
"""

from __future__ import annotations

import argparse
import html
import pathlib
import re
from typing import NamedTuple

from execute import execute
from nbconvert import HTMLExporter
from nbformat import NotebookNode

FOLDER = pathlib.Path(__file__).resolve().parent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

# nbconvert's page as JupyterLab draws it, without the scripts that it fetches from elsewhere
TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}<style>
main { max-width: 1040px; margin: 0 auto; padding: 0 16px 64px; }
.pages { padding: 16px 0 0 86px; font: 14px system-ui, sans-serif; }
.pages a { color: var(--jp-content-link-color); }
.jp-OutputArea-output:is(.jp-RenderedMarkdown, .jp-RenderedHTML) { padding-left: 14px; }
.jp-OutputArea-executeResult .jp-OutputArea-output { padding-left: 0; }
.jp-RenderedHTML pre { font-family: var(--jp-code-font-family); font-size: var(--jp-code-font-size); }
</style>{% endblock %}
{% block body_header %}{{ super() }}<nav class="pages"><a href="index.html">All notebooks</a></nav>{% endblock %}
"""
INDEX = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>pagednb notebooks</title><style>
body {{ max-width: 640px; margin: 64px auto; padding: 0 16px; font: 16px/1.5 system-ui, sans-serif; color: #212121 }}
h2 {{ margin: 32px 0 4px; font-size: 20px }} p {{ margin: 0 }} a {{ color: #1565c0 }}
</style><h1>pagednb notebooks</h1>
<p>Every page below was run from top to bottom on the demonstration model that ships with pagednb.</p>
{entries}</html>
"""
ENTRY = '<h2><a href="{name}.html">{title}</a></h2><p>{lead}</p>'


class Page(NamedTuple):
    """A rendered notebook; ``title`` and ``lead`` are its first heading and the first sentences below."""

    name: str
    title: str
    lead: str
    body: str


def render(path: pathlib.Path) -> Page:
    """Run the notebook at ``path`` and draw it. Raises nbclient's CellExecutionError when a cell fails."""
    notebook = execute(path)
    title, lead = _opening(notebook)
    notebook.metadata["title"] = title
    _still(notebook)
    body, _ = HTMLExporter(raw_template=TEMPLATE, anchor_link_text="").from_notebook_node(notebook)
    return Page(path.stem, title, lead, body)


def _opening(notebook: NotebookNode) -> tuple[str, str]:
    heading, _, rest = notebook.cells[0].source.partition("\n")
    first_paragraph = rest.strip().partition("\n\n")[0]
    return heading.lstrip("# "), " ".join(re.sub("[`*]", "", first_paragraph).split())


def _still(notebook: NotebookNode) -> None:
    """Leave of every widget the picture that it keeps for pages without a kernel."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET_VIEW, None)


def index(pages: list[Page]) -> str:
    """Return the page that lists the others."""
    texts = [{name: html.escape(text) for name, text in page._asdict().items() if name != "body"} for page in pages]
    return INDEX.format(entries="\n".join(ENTRY.format(**text) for text in texts))


def main() -> None:
    """Render the notebooks named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=pathlib.Path, help="all in this folder, if none is named")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder for the pages")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    pages = [render(path.resolve()) for path in args.notebooks or sorted(FOLDER.glob("*.ipynb"))]
    for page in pages:
        (args.output / f"{page.name}.html").write_text(page.body)
    (args.output / "index.html").write_text(index(pages))
    print(f"Rendered notebooks: {args.output / 'index.html'}")


if __name__ == "__main__":
    main()

"""What a hostile model says stays text in a real JupyterLab: in the chat, below cells, while it streams, and frozen.

The attacks call ``pwned()`` or ask another host for something. So the page counts calls, the fixture ``page`` counts
requests, and what is drawn may hold nothing that could run later.
"""

from __future__ import annotations

import pathlib

import pytest
from playwright.sync_api import Page, expect
from support.attacks import ATTACKS
from support.lab_notebook import Lab

from pagednb.notebook.answer_format import FORMATS

TESTS = pathlib.Path(__file__).resolve().parents[1]
SETUP = f"""import sys; sys.path.insert(0, {str(TESTS)!r})
from IPython.display import display
from support.attacks import ATTACKS
import pagednb as pnb
from pagednb.notebook.answer_format import ANSWER_FORMATS
attacks = list(ATTACKS.values())"""
CHAT = """said = [{"role": role, "content": attack} for attack in attacks for role in ("user", "assistant")]
chat = pnb.chat(messages=said)
chat"""
FROZEN = "chat.freeze()"
TURNS = "display(*chat.turns)"
OUTPUTS_OF_LLM = """from pagednb.outputs import CompletionOutput, RequestOutput
completions = tuple(CompletionOutput(index=i, text=text, token_ids=()) for i, text in enumerate(attacks))
RequestOutput(request_id='0', prompt=None, prompt_token_ids=(), outputs=completions)"""
BELOW_CELLS = """for attack in attacks:
    display(ANSWER_FORMATS["{name}"].final([attack], "a note"), raw=True)"""
STREAMED = """for attack in attacks:
    live = ANSWER_FORMATS["{name}"].live()
    handle = display(live([""]), raw=True, display_id=True)
    for end in (len(attack) // 3, len(attack) // 2, len(attack) - 1, len(attack)):
        handle.update(live([attack[:end]]), raw=True)"""

PROBE = "window.pwnings = []; window.pwned = (...args) => { window.pwnings.push(String(args)); };"
FOUND = """(root) => {
  const forbidden = "script,iframe,frame,object,embed,link,meta,base,form,template,animate,set,audio,video";
  const found = [...root.querySelectorAll(`:is(${forbidden})`)].map((element) => element.outerHTML.slice(0, 200));
  for (const element of root.querySelectorAll("*")) {
    for (const { name, value } of element.attributes) {
      const isHandler = name.startsWith("on");
      const isScript = /^[\\s\\0-\\x20]*(javascript|vbscript|data:text)/i.test(value.replace(/[\\s\\0-\\x20]/g, ""));
      const isElsewhere = ["src", "srcset", "background", "poster", "style"].includes(name) && /evil/.test(value);
      if (isHandler || isScript || isElsewhere) found.push(`${name}=${value.slice(0, 200)}`);
    }
    if (getComputedStyle(element).position === "fixed") found.push(`fixed: ${element.outerHTML.slice(0, 200)}`);
  }
  return found;
}"""
OUTPUTS = ".jp-OutputArea-output"
OUR_HTML = f"{OUTPUTS}:not(.jp-RenderedText)"
"""Plain text is JupyterLab's to draw: of whatever looks like an address it makes a link to a new page."""
ANSWERS = '.pnb-chat article[data-role="assistant"] [data-part="answer"]'


@pytest.fixture
def probed(page: Page) -> Page:
    page.add_init_script(PROBE)
    return page


def assert_inert(page: Page, selector: str) -> None:
    assert page.evaluate("pwnings") == []
    found = page.locator(selector).evaluate_all(f"(roots) => roots.flatMap({FOUND})")
    assert found == []
    assert page.title().startswith("test_") and page.locator(".jp-Dialog:not(.jp-RenderedHTML *)").count() == 0


def test_in_the_chat(probed: Page, lab: Lab) -> None:
    notebook = lab.open([SETUP, CHAT, FROZEN, TURNS, OUTPUTS_OF_LLM])
    notebook.run()
    expect(probed.locator(ANSWERS)).to_have_count(len(ATTACKS))
    expect(probed.locator('.pnb-chat article[data-role="user"]').first).to_contain_text("<script>pwned()</script>")
    assert_inert(probed, f"{ANSWERS}, {OUR_HTML}")


@pytest.mark.parametrize("cell", [BELOW_CELLS, STREAMED], ids=["whole", "streamed"])
def test_below_cells(probed: Page, lab: Lab, cell: str) -> None:
    notebook = lab.open([SETUP, *(cell.format(name=name) for name in FORMATS)])
    notebook.run()
    for index in range(1, len(FORMATS) + 1):
        expect(notebook.cell(index).output.locator(OUTPUTS)).to_have_count(len(ATTACKS))
    assert_inert(probed, OUR_HTML)


def test_the_probes_find_what_they_look_for(probed: Page) -> None:
    probed.goto("about:blank")
    probed.set_content('<div id="x"></div>')
    probed.locator("#x").evaluate(
        """(x) => { x.innerHTML = '<img src=x onerror=pwned()><a href=" java\\nscript:0">x</a><iframe></iframe>'
        + '<p style="position:fixed">x</p>'; }"""
    )
    probed.wait_for_function("pwnings.length === 1")
    found = probed.locator("#x").evaluate(FOUND)
    assert [entry.partition("=")[0][:7] for entry in found] == ["<iframe", "onerror", "href", "fixed: "]

"""How the chat looks on a page: it fits narrow and wide ones, and can be read in the theme of each host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from support.mounted_chat import ANSWER, HEAD, MODEL, Chat, turn
from support.mounted_widget import MountedWidget


@pytest.mark.parametrize("width", [296, 1000])
def test_a_short_name_is_whole(mounted: Callable[..., MountedWidget], page: Page, width: int) -> None:
    page.set_viewport_size({"width": width + 16, "height": 600})
    state = {"seq": 0, "name": "support", "model": {**MODEL, "name": "organisation/some-long-model-7B"}, "turns": []}
    view = mounted("chat", {"state": {**state, **HEAD}, "stylesheet": ""}).view
    assert view.locator(".pnb-chat-title").evaluate("title => title.scrollWidth <= title.clientWidth")


@pytest.mark.parametrize("width", [400, 1000])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_and_can_be_read(
    chat: Chat, page: Page, screenshot: Callable[..., Any], theme: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    long = (
        "A "
        + "very" * 40
        + " long word, and:\n\n```python\n"
        + "x = 1; " * 40
        + "\n```\n\n|"
        + "a|" * 12
        + "\n|"
        + "-|" * 12
    )
    shown = chat(turn("q1", "y" * 300), turn("a1", f"{ANSWER}\n\n{long}", thinking="Hm."), theme=theme)
    shown.action("options").click()
    root = shown.view.locator(".pnb-chat")
    assert root.evaluate("root => root.scrollWidth <= root.clientWidth")
    assert shown.view.locator('[data-role="log"]').evaluate("log => log.scrollWidth <= log.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    dark = theme == "dark"
    background = root.evaluate("root => getComputedStyle(root).backgroundColor")
    assert background == ("rgb(33, 33, 33)" if dark else "rgb(255, 255, 255)")
    screenshot(f"chat-module-{theme}-{width}", root)


def test_a_page_without_jupyterlab_has_colours_of_its_own(chat: Chat) -> None:
    shown = chat(turn("q1", "Hello"), theme="dark", theme_variables=False)
    assert shown.view.locator(".pnb-chat").evaluate("root => getComputedStyle(root).color") == "rgb(230, 230, 230)"


@pytest.mark.parametrize("host", ["body.vscode-dark", "html[theme=dark]", "body.dark"])
def test_a_dark_page_on_a_light_system_can_be_read(chat: Chat, page: Page, host: str) -> None:
    """VS Code, Colab and marimo say on the page which theme they show."""
    shown = chat(turn("q1", "Hi"), turn("a1", ANSWER), theme_variables=False)
    page.evaluate(
        """(host) => {
          document.body.className = host.startsWith("body.") ? host.slice(5) : "";
          if (host.startsWith("html")) document.documentElement.setAttribute("theme", "dark");
        }""",
        host,
    )
    expect(shown.view.locator(".pnb-chat")).to_have_css("background-color", "rgb(28, 30, 33)")
    expect(shown.turn("a1").locator("strong")).to_have_css("color", "rgb(230, 233, 237)")
    expect(shown.turn("a1").locator("pre .pnb-mi")).to_have_css("color", "rgb(111, 214, 214)")

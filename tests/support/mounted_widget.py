"""A widget's ES module, or the folder of its parts, on a page of its own, with a fake anywidget model: no Jupyter, no
kernel, milliseconds.

The page and its files come from a route of the browser, so nothing listens and nothing leaves the process. Its origin
is ``localhost``, which browsers trust as they trust https: the clipboard works.
"""

from __future__ import annotations

import pathlib
from typing import Any, Literal

from playwright.sync_api import Locator, Page, Route

from pagednb.widgets.module import joined_module

ORIGIN = "http://localhost:1"
HOST_SCRIPT = pathlib.Path(__file__).with_name("mount_host.js")
Theme = Literal["light", "dark"]

# JupyterLab says on <body> which theme it shows, and gives its colours as variables. These are its own values.
COLOURS: dict[Theme, dict[str, str]] = {
    "light": {"layout-color0": "#fff", "layout-color1": "#fff", "layout-color2": "#eee", "ui-font-color1": "#212121"},
    "dark": {"layout-color0": "#111", "layout-color1": "#212121", "layout-color2": "#424242", "ui-font-color1": "#fff"},
}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>mounted</title>
<style>:root {{ {variables} }} body {{ margin: 8px; background: var(--jp-layout-color0); color: {ink};
font: 13px system-ui, sans-serif }}</style><link rel="stylesheet" href="widget.css">
<body data-jp-theme-light="{is_light}" data-jp-theme-name="JupyterLab {name}"></body></html>"""


class MountedWidget:
    """What a test sees of it: ``view`` and ``page`` to look at and press, ``push`` and ``update`` as the kernel would.

    ``theme_variables=False`` mounts it as a front end without JupyterLab's colours would.
    """

    def __init__(
        self,
        page: Page,
        module: pathlib.Path,
        state: dict[str, Any],
        *,
        theme: Theme = "light",
        theme_variables: bool = True,
    ) -> None:
        self.page = page
        colours = COLOURS[theme] if theme_variables else {}
        html = PAGE.format(
            variables=" ".join(f"--jp-{name}: {value};" for name, value in colours.items()),
            ink=COLOURS[theme]["ui-font-color1"],
            is_light=str(theme == "light").lower(),
            name=theme.capitalize(),
        )
        is_folder = module.is_dir()
        script = joined_module(module) if is_folder else module.read_text()
        style = module / f"{module.name}.css" if is_folder else module.with_suffix(".css")
        files = {
            "page.html": (html, "text/html"),
            "host.js": (HOST_SCRIPT.read_text(), "text/javascript"),
            "widget.js": (script, "text/javascript"),
            "widget.css": (style.read_text() if style.exists() else "", "text/css"),
        }
        page.emulate_media(color_scheme=theme)
        page.route(f"{ORIGIN}/**", lambda route: _answer(route, files))
        page.goto(f"{ORIGIN}/page.html")
        page.evaluate("async (state) => (await import('/host.js')).mount('/widget.js', state)", state)

    @property
    def view(self) -> Locator:
        """The newest view."""
        return self.page.locator(".mount-view").last

    @property
    def sent(self) -> list[dict[str, Any]]:
        """Contents of all messages that the module sent to the kernel."""
        return self.page.evaluate("mount.model.sent")

    @property
    def saved(self) -> list[dict[str, Any]]:
        """What each ``save_changes`` took to the kernel."""
        return self.page.evaluate("mount.model.saved")

    @property
    def num_listeners(self) -> int:
        """Listeners on the model; none may be left when all views are gone."""
        return self.page.evaluate("mount.model.numListeners()")

    def get(self, name: str) -> Any:
        """A trait, as the front end sees it."""
        return self.page.evaluate("(name) => mount.model.get(name)", name)

    def push(self, content: dict[str, Any]) -> None:
        """Deliver a custom message of the kernel."""
        self.page.evaluate("(content) => mount.model.push(content)", content)

    def update(self, **changes: Any) -> None:
        """Deliver traits that the kernel changed."""
        self.page.evaluate("(changes) => mount.model.update(changes)", changes)

    def wait_sent(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait until the module has sent so many messages; return all of them."""
        self.page.wait_for_function("(count) => mount.model.sent.length >= count", arg=count)
        return self.sent

    def lose_kernel(self, *, is_announced: bool = True) -> None:
        """End the kernel's side of the model, as a restart does. Not every front end says so: some only throw."""
        self.page.evaluate("(isAnnounced) => mount.model.loseKernel(isAnnounced)", is_announced)

    def add_view(self) -> Locator:
        """Draw the same model once more, as a second output cell or a reloaded page does; return the new view."""
        self.page.evaluate("mount.addView()")
        return self.view

    def remove_views(self) -> None:
        """Close every view as the front end does when outputs are cleared."""
        self.page.evaluate("mount.removeViews()")


def _answer(route: Route, files: dict[str, tuple[str, str]]) -> None:
    name = route.request.url.removeprefix(f"{ORIGIN}/")
    if name in files:
        body, content_type = files[name]
        route.fulfill(body=body, content_type=f"{content_type}; charset=utf-8")
    else:
        route.fulfill(status=404)

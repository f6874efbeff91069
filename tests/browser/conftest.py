"""A real browser for tests: ``page``, a widget ``mounted`` alone on a page, and notebooks in a real ``lab``.

Run by ``make test-browser`` and not by ``make test``: they need Debian's ``chromium`` and the extra ``browser``.
Whatever a test does, no request may leave the machine, no script may fail unnoticed and no dialog may open.
"""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from support.jupyter_lab import JupyterLab, jupyter_lab
from support.lab_notebook import Lab
from support.mounted_chat import ANSWER, HEAD, MODEL, Chat, MountedChat, turn
from support.mounted_widget import MountedWidget
from support.page_watch import PageWatch

from pagednb.rendering.stylesheet import stylesheet

HERE = pathlib.Path(__file__).parent
OUTPUT = HERE / "output"
WIDGET_FILES = HERE.parents[1] / "widgets" / "static"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 60_000
"""For everything that a test waits for: a machine may be busy, and a test that waits costs nothing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder ``browser``."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Keep a picture of the page on which a test failed."""
    report = yield
    page = getattr(item, "funcargs", {}).get("page")
    if report.when == "call" and report.failed and page is not None and not page.is_closed():
        page.screenshot(path=OUTPUT / f"failed-{item.name}.png")
    return report


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    found = [path for name in CHROMIUM if (path := shutil.which(name))]
    assert found, "There is no chromium on this machine. Debian and Ubuntu: apt-get install chromium"
    expect.set_options(timeout=TIMEOUT_MS)
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # chromium's sandbox refuses to run as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found[0], args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page_watch() -> PageWatch:
    """What ``page`` did so far beyond what is seen. A test that provokes errors on purpose clears what it has read."""
    return PageWatch()


@pytest.fixture
def page_options() -> dict[str, Any]:
    """The browser's options for ``page``; a module with other wishes has a fixture of this name."""
    return {"viewport": {"width": 1280, "height": 900}}


@pytest.fixture
def page(chromium: Browser, page_watch: PageWatch, page_options: dict[str, Any]) -> Iterator[Page]:
    """An empty page in a browser profile of its own."""
    OUTPUT.mkdir(exist_ok=True)
    context = chromium.new_context(reduced_motion="reduce", **page_options)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    page_watch.listen(page)
    yield page
    context.close()
    assert page_watch.foreign_requests == []
    assert page_watch.errors == []
    assert page_watch.dialogs == []


@pytest.fixture
def mounted(page: Page) -> Callable[..., MountedWidget]:
    """Mount ``widgets/static/NAME`` (or any path) on the page, with a dict as the state of its model."""

    def mount(module: str | pathlib.Path, state: dict[str, Any], **options: Any) -> MountedWidget:
        return MountedWidget(page, WIDGET_FILES / module, state, **options)

    return mount


@pytest.fixture
def chat(mounted: Callable[..., MountedWidget]) -> Chat:
    """Mount a chat with these turns."""

    def mount(*turns: dict[str, Any], model: dict[str, Any] | None = MODEL, **options: Any) -> MountedChat:
        state = {**HEAD, "seq": 0, "name": None, "model": model, "turns": list(turns)}
        return MountedChat(mounted("chat", {"stylesheet": stylesheet(), "state": state}, **options))

    return mount


@pytest.fixture
def talked(chat: Chat) -> MountedChat:
    """Two questions with their answers."""
    first = [turn("q1", "What is <b>this</b>?"), turn("a1", ANSWER, ("a1", "a1b"), thinking="Let me see.")]
    return chat(*first, turn("q2", "More?"), turn("a2", "Enough."))


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterLab]:
    with jupyter_lab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def lab(page: Page, lab_server: JupyterLab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A running JupyterLab; kernels of the test end with it."""
    yield Lab(page, lab_server, request.node.originalname)
    page.close()
    lab_server.end_kernels()
    lab_server.reset_settings()


@pytest.fixture
def screenshot(page: Page) -> Callable[..., pathlib.Path]:
    """Keep a picture under a name in ``output/``: of the page, or of one element of it."""

    def take(name: str, element: Locator | None = None) -> pathlib.Path:
        path = OUTPUT / f"{name}.png"
        (element or page).screenshot(path=path, animations="disabled", caret="hide")
        return path

    return take

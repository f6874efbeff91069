"""The host that other tests mount widgets in: it does what anywidget does, and notices what it should."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from support.mounted_widget import MountedWidget
from support.page_watch import PageWatch

COUNTER = """
export default {
  render({ model, el }) {
    const button = document.createElement("button");
    const draw = () => { button.textContent = model.get("count"); };
    const hear = (message) => { button.title = message.title; };
    button.onclick = () => {
      model.set("count", model.get("count") + 1);
      model.save_changes();
      model.send({ type: "pressed" });
    };
    model.on("change:count", draw);
    model.on("msg:custom", hear);
    draw();
    el.append(button);
    return () => { model.off("change:count", draw); model.off("msg:custom", hear); };
  },
};
"""


@pytest.fixture
def counter(tmp_path: pathlib.Path, mounted: Callable[..., MountedWidget]) -> MountedWidget:
    module = tmp_path / "counter.js"
    module.write_text(COUNTER)
    module.with_suffix(".css").write_text("button { color: rgb(1, 2, 3) }")
    return mounted(module, {"count": 3})


def test_both_directions(counter: MountedWidget) -> None:
    button = counter.view.get_by_role("button")
    expect(button).to_have_text("3")
    expect(button).to_have_css("color", "rgb(1, 2, 3)")
    button.click()
    assert counter.wait_sent() == [{"type": "pressed"}]
    assert counter.saved == [{"count": 4}] and counter.get("count") == 4
    counter.update(count=9)
    counter.push({"title": "nine"})
    expect(button).to_have_text("9")
    expect(button).to_have_attribute("title", "nine")


def test_views_come_and_go(counter: MountedWidget) -> None:
    counter.add_view().get_by_role("button").click()
    expect(counter.page.get_by_role("button")).to_have_text(["4", "4"])
    counter.remove_views()
    expect(counter.page.get_by_role("button")).to_have_count(0)
    assert counter.num_listeners == 0


def test_what_a_page_must_not_do_is_noticed(page: Page, page_watch: PageWatch) -> None:
    with page.expect_event("pageerror"):
        page.evaluate("setTimeout(() => { alert('hello'); throw new Error('oops'); })")
    page.evaluate("fetch('https://example.invalid/').catch(() => {})")
    assert page_watch.dialogs == ["alert: hello"]
    assert page_watch.errors == ["oops"]
    assert page_watch.foreign_requests == ["https://example.invalid/"]
    for noticed in (page_watch.dialogs, page_watch.errors, page_watch.foreign_requests):
        noticed.clear()

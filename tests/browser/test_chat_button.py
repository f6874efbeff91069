"""Send and Stop on the page: one button, pressed by mouse and by keys, while the answer grows below the pointer."""

from __future__ import annotations

from playwright.sync_api import Page, expect
from support.mounted_chat import Chat, growing, turn


def test_enter_sends_and_shift_enter_begins_a_line(chat: Chat) -> None:
    shown = chat()
    expect(shown.view.locator('[data-role="empty"]')).to_contain_text("Ask the model something")
    shown.composer.press_sequentially("one")
    shown.composer.press("Shift+Enter")
    shown.composer.press_sequentially("two")
    height = shown.composer.bounding_box()["height"]  # type: ignore[index]
    shown.composer.press("Enter")
    assert shown.pressed == [{"type": "ask", "text": "one\ntwo"}]
    expect(shown.composer).to_have_value("")
    expect(shown.composer).to_be_focused()
    assert shown.composer.bounding_box()["height"] < height  # type: ignore[index]
    shown.composer.press("Enter")
    assert len(shown.pressed) == 1, "nothing is no question"


def test_keys_stay_inside(chat: Chat, page: Page) -> None:
    shown = chat()
    page.evaluate("window.heard = []; document.addEventListener('keydown', (event) => heard.push(event.key))")
    shown.composer.press("Shift+Enter")
    shown.action("options").press("Enter")
    assert page.evaluate("heard") == []
    assert shown.view.locator(".pnb-chat").get_attribute("data-lm-suppress-shortcuts") == "true"


def test_an_answer_grows_and_stop_ends_it(chat: Chat) -> None:
    shown = chat()
    shown.composer.fill("Hello")
    shown.composer.press("Enter")
    shown.begin(turn("q1", "Hello"), growing("a1"))
    expect(shown.turn("a1")).to_have_class("pnb-chat-turn pnb-chat-assistant pnb-chat-waits")
    shown.patch("a1", '<p>One<span class="pnb-tail"></span></p>')
    shown.patch("a1", keep=1, tail=" two <b>")
    expect(shown.turn("a1").locator('[data-part="answer"]')).to_have_text("One two <b>")
    shown.patch(
        "a1", "<p>One two</p>", '<pre data-language="python"><code>x<span class="pnb-tail"></span></code></pre>'
    )
    shown.patch("a1", keep=2, tail=" = 1")
    expect(shown.turn("a1").locator("pre")).to_have_text("x = 1")
    expect(shown.turn("a1").locator(".pnb-tail")).to_have_text(" = 1")
    expect(shown.view.locator('[data-role="context"]')).to_have_text("15 / 100")
    shown.composer.fill("and then")
    shown.composer.press("Enter")
    assert [message["type"] for message in shown.pressed] == ["ask"], "one answer at a time"
    shown.composer.press("Escape")
    assert shown.pressed[-1] == {"type": "stop"}
    shown.action("stop").click()
    assert shown.pressed[-2:] == [{"type": "stop"}] * 2
    shown.settle(turn("a1", "One two", state="stopped"))
    expect(shown.turn("a1")).to_contain_text("Stopped")
    expect(shown.action("send")).to_be_visible()
    expect(shown.composer).to_have_value("and then")


def test_a_double_click_on_send_does_not_stop(chat: Chat, page: Page) -> None:
    shown = chat()
    shown.composer.fill("Hello")
    shown.action("send").click()
    shown.begin(turn("q1", "Hello"), growing("a1"))
    shown.action("stop").click()
    assert [message["type"] for message in shown.pressed] == ["ask"]


def test_stop_is_heard_while_the_answer_pushes_the_button_down(chat: Chat, page: Page) -> None:
    shown = chat()
    shown.composer.fill("Hello")
    shown.composer.press("Enter")
    shown.begin(turn("q1", "Hello"), growing("a1"))
    shown.composer.fill("a draft")
    place = shown.action("stop").bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + 5, place["y"] + 5)
    page.mouse.down()
    shown.patch("a1", "<p>One</p><p>two</p><p>three</p>")
    expect(shown.turn("a1")).to_contain_text("three")
    page.mouse.up()
    assert shown.pressed[1:] == [{"type": "stop"}]


def test_a_press_on_stop_never_sends_the_draft(chat: Chat, page: Page) -> None:
    shown = chat()
    shown.begin(turn("q1", "Hello"), growing("a1"))
    shown.composer.fill("a draft")
    shown.action("stop").hover()
    page.mouse.down()
    shown.settle(turn("a1", "One", state="stopped"))
    expect(shown.action("send")).to_be_visible()
    page.mouse.up()
    assert shown.pressed == [{"type": "stop"}]
    shown.action("send").click()
    assert shown.pressed[1:] == [{"type": "ask", "text": "a draft"}]


def test_a_key_on_the_button_stops_and_sends(chat: Chat) -> None:
    shown = chat()
    shown.begin(turn("q1", "Hello"), growing("a1"))
    shown.action("stop").press("Enter")
    assert shown.pressed == [{"type": "stop"}]
    shown.settle(turn("a1", "One", state="stopped"))
    shown.composer.fill("Hello")
    shown.action("send").press("Space")
    assert shown.pressed[1:] == [{"type": "ask", "text": "Hello"}]


def test_a_key_that_is_held_or_pressed_twice_on_send_does_not_stop(chat: Chat, page: Page) -> None:
    shown = chat()
    shown.composer.fill("Hello")
    shown.action("send").focus()
    page.keyboard.down("Enter")
    shown.begin(turn("q1", "Hello"), growing("a1"))
    page.keyboard.down("Enter")  # the keyboard repeats it
    page.keyboard.up("Enter")
    shown.action("stop").press("Space")
    assert [message["type"] for message in shown.pressed] == ["ask"]


def test_a_finger_stops(chat: Chat, page: Page) -> None:
    shown = chat()
    shown.begin(turn("q1", "Hello"), growing("a1"))
    shown.composer.fill("a draft")
    place = shown.action("stop").bounding_box()
    assert place is not None
    session = page.context.new_cdp_session(page)
    point = {"x": place["x"] + 5, "y": place["y"] + 5}
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert shown.pressed == [{"type": "stop"}]


def test_only_the_main_button_stops_and_a_press_that_leaves_sends_nothing(chat: Chat, page: Page) -> None:
    shown = chat()
    shown.begin(turn("q1", "Hello"), growing("a1"))
    shown.composer.fill("a draft")
    shown.action("stop").click(button="right")
    assert shown.pressed == []
    shown.settle(turn("a1", "One"))
    shown.action("send").hover()
    page.mouse.down()
    shown.composer.hover()
    page.mouse.up()
    assert shown.pressed == []
    shown.action("send").press("Enter")
    assert shown.pressed == [{"type": "ask", "text": "a draft"}]

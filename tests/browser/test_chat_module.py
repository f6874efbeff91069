"""The chat's ES module on a page of its own: turns, what streams into them, and what stays when views come and go."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect
from support.attacks import ATTACKS
from support.mounted_chat import ANSWER, HEAD, MODEL, Chat, MountedChat, growing, turn

from pagednb.chats.drawn_turn import GrowingDrawing
from pagednb.chats.turn import Turn


def test_a_new_view_asks_for_the_whole_and_draws_what_it_has(talked: MountedChat) -> None:
    assert talked.widget.sent == [{"type": "draw"}]
    expect(talked.view.locator("article")).to_have_count(4)
    expect(talked.turn("q1")).to_contain_text("What is <b>this</b>?")
    expect(talked.turn("a1").locator("strong")).to_have_text("bold")
    expect(talked.view.locator('[data-role="counters"]')).to_contain_text("1,312 prompt")
    expect(talked.view.locator('[data-role="counters"]')).to_contain_text("1,280 cached")
    expect(talked.view.locator('[data-role="context"]')).to_have_text("1.5k / 32.8k")
    expect(talked.view.locator('[data-role="model"]')).to_have_text("some/model")


def test_before_the_first_answer_nothing_is_counted(chat: Chat) -> None:
    context = chat(turn("q1", "said before")).view.locator('[data-role="context"]')
    expect(context).to_have_text("context 32.8k")
    expect(context.locator(".pnb-chat-meter")).to_be_hidden()


def test_thoughts_are_folded(chat: Chat) -> None:
    shown = chat()
    shown.begin(turn("q1", "Hello"), growing("a1"))
    shown.patch("a1", "<p>hm</p>", part="thinking")
    fold = shown.turn("a1").locator('[data-action="thoughts"]')
    expect(fold).to_have_text("Thinking…")
    expect(shown.turn("a1").locator('[data-part="thinking"]')).to_be_hidden()
    fold.press("Enter")
    expect(shown.turn("a1").locator('[data-part="thinking"]')).to_have_text("hm")
    shown.patch("a1", "<p>yes</p>")
    shown.settle(turn("a1", "yes", thinking="hm"))
    expect(fold).to_have_text("Thought 3.2 s, 120 tokens")
    expect(fold).to_have_attribute("aria-expanded", "true")


def test_branches(talked: MountedChat) -> None:
    expect(talked.turn("a1").locator('[data-role="branch"]')).to_have_text("1/2")
    talked.turn("a1").locator('[data-action="previous"]').click(force=True)
    assert talked.pressed == []
    talked.turn("a1").locator('[data-action="next"]').press("Enter")
    assert talked.pressed == [{"type": "choose", "turn": "a1b"}]
    talked.tell("turns", keep=1, turns=[turn("a1b", "Another.", ("a1", "a1b"))], **HEAD)
    expect(talked.view.locator("article")).to_have_count(2)
    expect(talked.turn("a1b").locator('[data-role="branch"]')).to_have_text("2/2")
    expect(talked.turn("a1b").locator('[data-action="next"]')).to_be_focused()
    talked.turn("a1b").locator('[data-action="regenerate"]').click()
    assert talked.pressed[-1] == {"type": "regenerate", "turn": "a1b"}


@pytest.mark.parametrize("turn_id", ["q2", "a2"])
def test_any_turn_is_edited_in_its_place(talked: MountedChat, turn_id: str) -> None:
    edit = talked.turn(turn_id).locator('[data-action="edit"]')
    talked.turn(turn_id).hover()
    edit.click()
    editor = talked.turn(turn_id).locator("textarea")
    expect(editor).to_be_focused()
    editor.press_sequentially(" And?")
    editor.press("Escape")
    expect(editor).to_have_count(0)
    expect(edit).to_be_focused()
    assert talked.pressed == []
    edit.press("Enter")
    editor.fill("Other words")
    editor.press("Enter")
    assert talked.pressed == [{"type": "edit", "turn": turn_id, "text": "Other words"}]


def test_undo_brings_the_question_back_and_clear_asks_once(talked: MountedChat) -> None:
    talked.action("undo").click()
    talked.tell("turns", keep=2, turns=[], **HEAD)
    talked.tell("draft", text="More?")
    expect(talked.composer).to_have_value("More?")
    clear = talked.action("clear")
    clear.click()
    expect(clear).to_have_text("Clear all?")
    assert talked.pressed == [{"type": "undo"}]
    clear.click()
    assert talked.pressed[-1] == {"type": "clear"}
    talked.tell("turns", keep=0, turns=[], **{**HEAD, "can_undo": False})
    expect(talked.view.locator('[data-role="empty"]')).to_be_visible()
    expect(talked.action("undo")).to_be_disabled()
    expect(clear).to_be_disabled()


def test_copies(talked: MountedChat, page: Page) -> None:
    def copied(button: Locator) -> str:
        button.scroll_into_view_if_needed()
        button.click(force=True)
        expect(button).to_have_class("pnb-chat-button pnb-chat-copied")
        return page.evaluate("navigator.clipboard.readText()")

    assert copied(talked.turn("a1").locator('[data-action="copy"]')) == ANSWER
    assert copied(talked.turn("a1").locator('[data-action="copy-code"]')).strip() == "x = 1"
    transcript = copied(talked.action("copy-transcript"))
    assert transcript.startswith("You:\nWhat is <b>this</b>?\n\nModel:\nSome **bold**")


def test_options(talked: MountedChat) -> None:
    panel = talked.view.get_by_role("region", name="Options")
    expect(panel).to_be_hidden()
    talked.action("options").click()
    temperature = talked.view.locator('[data-option="temperature"]')
    expect(temperature).to_have_attribute("placeholder", "0.7")
    temperature.fill("0.2")
    temperature.press("Tab")
    talked.view.locator('[data-option="system"]').fill("Be brief.")
    talked.view.locator('[data-option="system"]').press("Tab")
    talked.view.locator('[data-option="thinking"]').select_option("off")
    temperature.fill("")
    temperature.press("Tab")
    changes = [message["options"] for message in talked.pressed]
    assert changes == [{"temperature": 0.2}, {"system": "Be brief."}, {"thinking": False}, {"temperature": None}]
    held = {"system": "x", "thinking": True, "temperature": 1.5}
    talked.tell("head", model={**MODEL, "can_switch_thinking": False}, **{**HEAD, "options": held})
    expect(temperature).to_have_value("1.5")
    expect(talked.view.locator('[data-option="thinking"]')).to_have_value("on")


def test_the_end_is_followed_unless_somebody_reads_above(chat: Chat) -> None:
    shown = chat(*(turn(f"q{number}", f"line {number}\n" * 6) for number in range(12)), growing("a1"))
    log = shown.view.locator('[data-role="log"]')
    top = "log => log.scrollTop"
    left = "log => log.scrollHeight - log.scrollTop - log.clientHeight"
    shown.patch("a1", *["<p>more</p>"] * 20)
    assert log.evaluate(left) < 2
    log.evaluate("log => { log.scrollTop = 100 }")
    expect(shown.action("latest")).to_have_css("opacity", "1")
    shown.patch("a1", *["<p>more</p>"] * 20, keep=20)
    assert log.evaluate(top) == 100
    shown.action("latest").click()
    assert log.evaluate(left) < 2


def test_sentences_are_announced(chat: Chat) -> None:
    shown = chat()
    announcer = shown.view.locator('[data-role="announcer"]')
    expect(announcer).to_have_attribute("aria-live", "polite")
    shown.begin(turn("q1", "Hello"), growing("a1"))
    shown.patch("a1", '<p>It is<span class="pnb-tail"></span></p>')
    expect(announcer).to_have_text("")
    shown.patch("a1", keep=1, tail=" so. And it")
    expect(announcer).to_have_text("It is so.")
    shown.settle(turn("a1", "It is so. And it", state="stopped"))
    expect(announcer).to_have_text("Stopped")


def test_several_views_stay_in_step_and_leave_nothing(talked: MountedChat, page: Page) -> None:
    talked.widget.add_view()
    talked.begin(turn("q3", "Third"), growing("a3"), keep=4)
    talked.patch("a3", "<p>both</p>")
    talked.settle(turn("a3", "both"))
    expect(page.locator('[data-turn="a3"] [data-part="answer"]')).to_have_text(["both", "both"])
    expect(talked.widget.add_view().locator("article")).to_have_count(6)
    expect(page.locator('[data-turn="a3"] [data-part="answer"]')).to_have_text(["both"] * 3)
    talked.widget.remove_views()
    assert talked.widget.num_listeners == 0


def test_what_is_typed_survives_everything(talked: MountedChat) -> None:
    talked.composer.fill("half a quest")
    talked.begin(turn("q3", "Third"), growing("a3"), keep=4)
    talked.settle(turn("a3", "both"))
    talked.tell("turns", keep=0, turns=[], **HEAD)
    expect(talked.composer).to_have_value("half a quest")
    expect(talked.composer).to_be_focused()


def test_attacks_are_inert_wherever_text_is_drawn(chat: Chat, page: Page) -> None:
    page.add_init_script("window.ran = []; window.pwned = () => ran.push(document.body.innerHTML.length)")
    texts = list(ATTACKS.values())
    assert len(texts) >= 60
    asked = [turn(f"q{number}", text) for number, text in enumerate(texts)]
    answered = [turn(f"a{number}", text, thinking=text) for number, text in enumerate(texts)]
    failed = [turn(f"a-failed{number}", "", state="failed", error=text) for number, text in enumerate(texts)]
    shown = chat(*asked, *answered, *failed, model={**MODEL, "name": texts[0]})
    for fold in shown.action("thoughts").all():
        if fold.is_visible():
            fold.evaluate("fold => fold.click()")
    shown.begin(growing("a-live"), keep=3 * len(texts))
    for text in texts:
        drawing = GrowingDrawing("a-live")
        shown.patch("a-live", keep=0)
        for end in range(1, len(text) + 1, 7):
            streaming = Turn(turn_id="a-live", role="assistant", text=text[:end], state="streaming")
            for patch in drawing.patches(streaming):
                shown.patch("a-live", *patch["blocks"], keep=patch["keep"], tail=patch["tail"])
        shown.tell("notice", text=text)
        shown.tell("head", model={**MODEL, "name": text}, **{**HEAD, "options": {"system": text, "thinking": None}})
    page.wait_for_timeout(300)
    assert page.evaluate("ran") == []
    assert shown.view.locator("script, iframe, object, embed, img, form, base, link, [onerror], [onload]").count() == 0

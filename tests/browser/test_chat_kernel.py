"""The chat between a page and its kernel: errors, refusals, silence, restarts, missed messages, and what is saved."""

from __future__ import annotations

from playwright.sync_api import expect
from support.mounted_chat import HEAD, MODEL, Chat, MountedChat, growing, turn


def test_errors_are_told_and_tried_again(chat: Chat) -> None:
    shown = chat(
        turn("q1", "Hello"), turn("a1", "", state="failed", error="No model is loaded. <b>Load one."), model=None
    )
    expect(shown.turn("a1")).to_contain_text("No model is loaded. <b>Load one.")
    expect(shown.view.locator('[data-role="model"]')).to_have_text("no model loaded")
    shown.action("retry").click()
    assert shown.pressed == [{"type": "regenerate", "turn": "a1"}]


def test_a_refused_question_is_not_lost(chat: Chat) -> None:
    shown = chat()
    shown.composer.fill("Hello")
    shown.composer.press("Enter")
    shown.tell("notice", text="An answer is on its way.")
    expect(shown.view.get_by_role("status")).to_have_text("An answer is on its way.")
    expect(shown.composer).to_have_value("Hello")


def test_a_kernel_that_does_not_answer_is_told(chat: Chat) -> None:
    shown = chat()
    shown.composer.fill("Hello")
    shown.composer.press("Enter")
    expect(shown.view.get_by_role("status")).to_contain_text("The kernel is busy")
    shown.begin(turn("q1", "Hello"), growing("a1"))
    expect(shown.view.get_by_role("status")).to_be_hidden()


def test_a_restarted_kernel_is_told_and_nothing_goes_on(chat: Chat) -> None:
    shown = chat()
    shown.begin(turn("q1", "Hello"), growing("a1"))
    shown.patch("a1", "<p>half an</p>")
    shown.widget.lose_kernel()
    expect(shown.view.get_by_role("status")).to_contain_text("ended with its kernel")
    expect(shown.turn("a1")).to_have_attribute("data-state", "stopped")
    shown.turn("a1").locator('[data-action="copy"]').click()
    assert shown.widget.page.evaluate("navigator.clipboard.readText()") == "half an"
    expect(shown.action("send")).to_be_visible()


def test_what_a_restarted_kernel_was_asked_is_not_lost(chat: Chat) -> None:
    shown = chat(turn("q1", "Hello"), turn("a1", "Hi"))
    shown.widget.lose_kernel(is_announced=False)
    shown.composer.fill("and then?")
    shown.composer.press("Enter")
    expect(shown.view.get_by_role("status")).to_contain_text("ended with its kernel")
    expect(shown.composer).to_have_value("and then?")
    shown.widget.add_view()
    expect(shown.view.locator("article")).to_have_count(2)


def test_a_view_that_missed_something_asks_for_the_whole(chat: Chat) -> None:
    shown = chat()
    shown.seq = 7
    shown.patch("a1", "<p>later</p>")
    shown.patch("a1", "<p>later still</p>")
    assert shown.widget.sent == [{"type": "draw"}] * 2, "one for the new view, one for what it missed"
    drawn = {**growing("a1"), "answer": {"blocks": ['<p>all of<span class="pnb-tail"></span></p>'], "tail": " it"}}
    state = {**HEAD, "is_busy": True, "seq": shown.seq, "name": "n", "model": MODEL, "turns": [turn("q1", "Hi"), drawn]}
    shown.widget.push({"type": "state", "state": state})
    expect(shown.turn("a1").locator('[data-part="answer"]')).to_have_text("all of it")
    shown.patch("a1", keep=1, tail=" and more")
    expect(shown.turn("a1").locator('[data-part="answer"]')).to_have_text("all of it and more")


def test_a_saved_notebook_keeps_the_last_state(talked: MountedChat) -> None:
    talked.begin(turn("q3", "Third"), growing("a3"), keep=4)
    talked.patch("a3", "<p>kept</p>")
    talked.settle(turn("a3", "kept"))
    state = talked.widget.get("state")
    assert [each["id"] for each in state["turns"]] == ["q1", "a1", "q2", "a2", "q3", "a3"]
    assert state["turns"][-1]["answer"]["blocks"] == ["<p>kept</p>"] and state["seq"] == talked.seq
    assert talked.widget.saved == [], "nothing of it goes to the kernel"

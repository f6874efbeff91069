"""The chat's ES module on a page of its own: every button, what streams, and what stays when views come and go."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from support.attacks import ATTACKS
from support.mounted_widget import MountedWidget

from pagednb.chats.drawn_turn import GrowingDrawing, drawn_parts, drawn_turn
from pagednb.chats.turn import AnswerFigures, Turn
from pagednb.rendering.stylesheet import stylesheet

MODEL = {
    "name": "some/model",
    "max_context_tokens": 32768,
    "can_switch_thinking": True,
    "defaults": {"temperature": 0.7, "max_tokens": None},
}
FIGURES = AnswerFigures(
    model="some/model",
    max_context_tokens=32768,
    num_prompt_tokens=1312,
    num_cached_tokens=1280,
    num_new_tokens=185,
    num_thinking_tokens=120,
    thinking_s=3.2,
    first_token_s=0.21,
    duration_s=4.21,
)
HEAD: dict[str, Any] = {"is_busy": False, "can_undo": True, "options": {"system": "", "thinking": None}}
ANSWER = "Some **bold** words.\n\n```python\nx = 1\n```"


def turn(turn_id: str, text: str, siblings: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    role: Any = "user" if turn_id.startswith("q") else "assistant"
    made = Turn(turn_id=turn_id, role=role, text=text, figures=None if role == "user" else FIGURES, **fields)
    return {**drawn_turn(made, siblings or (turn_id,)), **drawn_parts(made)}


def growing(turn_id: str) -> dict[str, Any]:
    return {**turn(turn_id, "", state="streaming"), "figures": None}


@dataclasses.dataclass
class MountedChat:
    """The module with what the kernel would say."""

    widget: MountedWidget
    seq: int = 0

    @property
    def view(self) -> Locator:
        return self.widget.view

    def tell(self, kind: str, **fields: Any) -> None:
        self.seq += 1
        self.widget.push({"type": kind, "seq": self.seq, **fields})

    def begin(self, *turns: dict[str, Any], keep: int = 0) -> None:
        self.tell("turns", keep=keep, turns=list(turns), **{**HEAD, "is_busy": True})

    def patch(self, turn_id: str, *blocks: str, keep: int = 0, tail: str = "", part: str = "answer") -> None:
        figures = {"num_prompt_tokens": 10, "num_new_tokens": 5, "num_cached_tokens": 0, "max_context_tokens": 100}
        self.tell("patch", turn=turn_id, part=part, keep=keep, blocks=list(blocks), tail=tail, figures=figures)

    def settle(self, drawn: dict[str, Any]) -> None:
        meta = {name: value for name, value in drawn.items() if name not in ("thinking", "answer")}
        self.tell("turn", turn=meta, model=MODEL, **HEAD)

    def turn(self, turn_id: str) -> Locator:
        return self.view.locator(f'[data-turn="{turn_id}"]')

    def action(self, name: str) -> Locator:
        return self.view.locator(f'[data-action="{name}"]')

    @property
    def composer(self) -> Locator:
        return self.view.locator('[data-role="composer"]')

    @property
    def pressed(self) -> list[dict[str, Any]]:
        """What was sent to the kernel, the requests of views that just opened aside."""
        return [message for message in self.widget.sent if message != {"type": "draw"}]


Chat = Callable[..., MountedChat]


@pytest.fixture
def chat(mounted: Callable[..., MountedWidget]) -> Chat:
    def mount(*turns: dict[str, Any], model: dict[str, Any] | None = MODEL, **options: Any) -> MountedChat:
        state = {**HEAD, "seq": 0, "name": None, "model": model, "turns": list(turns)}
        return MountedChat(mounted("chat", {"stylesheet": stylesheet(), "state": state}, **options))

    return mount


@pytest.fixture
def talked(chat: Chat) -> MountedChat:
    """Two questions with their answers."""
    first = [turn("q1", "What is <b>this</b>?"), turn("a1", ANSWER, ("a1", "a1b"), thinking="Let me see.")]
    return chat(*first, turn("q2", "More?"), turn("a2", "Enough."))


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


@pytest.mark.parametrize("width", [296, 1000])
def test_a_short_name_is_whole(mounted: Callable[..., MountedWidget], page: Page, width: int) -> None:
    page.set_viewport_size({"width": width + 16, "height": 600})
    state = {"seq": 0, "name": "support", "model": {**MODEL, "name": "organisation/some-long-model-7B"}, "turns": []}
    view = mounted("chat", {"state": {**state, **HEAD}, "stylesheet": ""}).view
    assert view.locator(".pnb-chat-title").evaluate("title => title.scrollWidth <= title.clientWidth")


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


def test_what_is_typed_survives_everything(talked: MountedChat) -> None:
    talked.composer.fill("half a quest")
    talked.begin(turn("q3", "Third"), growing("a3"), keep=4)
    talked.settle(turn("a3", "both"))
    talked.tell("turns", keep=0, turns=[], **HEAD)
    expect(talked.composer).to_have_value("half a quest")
    expect(talked.composer).to_be_focused()


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


def test_a_saved_notebook_keeps_the_last_state(talked: MountedChat) -> None:
    talked.begin(turn("q3", "Third"), growing("a3"), keep=4)
    talked.patch("a3", "<p>kept</p>")
    talked.settle(turn("a3", "kept"))
    state = talked.widget.get("state")
    assert [each["id"] for each in state["turns"]] == ["q1", "a1", "q2", "a2", "q3", "a3"]
    assert state["turns"][-1]["answer"]["blocks"] == ["<p>kept</p>"] and state["seq"] == talked.seq
    assert talked.widget.saved == [], "nothing of it goes to the kernel"


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

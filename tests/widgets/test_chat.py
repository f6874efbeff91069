"""The chat's widget without a browser: one for all cells, its state made when asked for, messages handed on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pagednb.widgets.chat import ChatWidget


class CountingModel:
    """A chat that counts how often it is drawn."""

    def __init__(self) -> None:
        self.num_drawn = 0
        self.heard: list[Mapping[str, Any]] = []

    def state(self) -> dict[str, Any]:
        self.num_drawn += 1
        return {"seq": self.num_drawn, "turns": []}

    def handle(self, message: Mapping[str, Any]) -> None:
        self.heard.append(message)


def test_the_state_is_that_of_the_moment() -> None:
    model = CountingModel()
    widget = ChatWidget(model, stylesheet=".pnb-markdown { }")
    before = model.num_drawn
    assert widget.get_state()["state"]["seq"] == before + 1
    assert widget.get_state(["state"])["state"]["seq"] == before + 2
    assert widget.get_state()["stylesheet"] == ".pnb-markdown { }"


def test_what_is_pressed_reaches_the_model() -> None:
    model = CountingModel()
    widget = ChatWidget(model, stylesheet="")
    widget._handle_custom_msg({"type": "stop"}, [])
    assert model.heard == [{"type": "stop"}]


def test_the_module_and_its_styles_travel_with_the_widget() -> None:
    widget = ChatWidget(CountingModel(), stylesheet="")
    assert "export default { render }" in widget._esm and ".pnb-chat" in widget._css
    for text in (widget._esm, widget._css):
        assert "@import" not in text and "\nimport" not in text and "https:" not in text

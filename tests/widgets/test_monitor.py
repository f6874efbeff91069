"""The monitor's widget: what is shown reaches the front end once, and views are heard."""

from __future__ import annotations

from typing import Any

import pytest

from pagednb.widgets.monitor import MonitorView


class Watched:
    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def watch(self, view_id: str) -> None:
        self.heard.append(("watch", view_id))

    def leave(self, view_id: str) -> None:
        self.heard.append(("leave", view_id))


def sent_by(view: MonitorView, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Keys of the state that is sent from now on."""
    sent: list[Any] = []
    monkeypatch.setattr(view, "send_state", lambda key=None: sent.append(key))
    return sent


def test_a_frame_is_sent_once_and_kept_for_pages_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    view = MonitorView(Watched())
    sent = sent_by(view, monkeypatch)
    assert view.show({"state": "idle", "history": [[1, 2, None, 3]]})
    assert not view.show({"state": "idle", "history": [[1, 2, None, 3]]})
    assert len(sent) == 1
    assert view.get_state()["frame"] == {"state": "idle", "history": [[1, 2, None, 3]]}


def test_views_are_heard_and_nonsense_is_not() -> None:
    watched = Watched()
    view = MonitorView(watched)
    messages: list[Any] = [
        {"type": "watch", "view": "a"},
        {"type": "leave", "view": "a"},
        {"type": "run", "view": "a"},
        {"type": "watch", "view": 3},
        {"type": "watch"},
        "watch",
        None,
    ]
    for message in messages:
        view._handle_custom_msg(message, [])
    assert watched.heard == [("watch", "a"), ("leave", "a")]


def test_a_page_cannot_change_the_frame() -> None:
    """What a browser sends as state is not what the engine did."""
    view = MonitorView(Watched())
    view.show({"state": "idle"})
    with pytest.raises(Exception, match="read-only"):
        view.frame = {"state": "hacked"}


def test_its_files_ask_nothing_of_the_network() -> None:
    module, style = str(view_state()["_esm"]), str(view_state()["_css"])
    assert "export default" in module and ".pnb-monitor" in style
    for text in (module, style):
        assert "import " not in text and "@import" not in text and "url(" not in text
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "innerHTML" not in module and "eval" not in module


def view_state() -> dict[str, Any]:
    return MonitorView(Watched()).get_state()

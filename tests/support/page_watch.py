"""What a page does beyond what is seen: requests, uncaught errors, dialogs. Nothing of it may surprise."""

from __future__ import annotations

import dataclasses
from urllib.parse import urlsplit

from playwright.sync_api import Dialog, Page

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclasses.dataclass
class PageWatch:
    """Everything noteworthy since the page was made; tests may read it at any time."""

    foreign_requests: list[str] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)
    dialogs: list[str] = dataclasses.field(default_factory=list)
    console: list[str] = dataclasses.field(default_factory=list)

    def listen(self, page: Page) -> None:
        """Follow ``page`` from now on; dialogs are dismissed, except for the question whether to leave the page."""
        page.on("request", lambda request: self._note_request(request.url))
        page.on("websocket", lambda socket: self._note_request(socket.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("dialog", self._note_dialog)

    def _note_request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https", "ws", "wss", "ftp"} and parts.hostname not in LOOPBACK:
            self.foreign_requests.append(url)

    def _note_dialog(self, dialog: Dialog) -> None:
        if dialog.type == "beforeunload":
            dialog.accept()
        else:
            self.dialogs.append(f"{dialog.type}: {dialog.message}")
            dialog.dismiss()

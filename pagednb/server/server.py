"""A server on a thread of its own: what ``pagednb.serve`` returns."""

from __future__ import annotations

import html
import socket
import threading
from typing import TYPE_CHECKING

from pagednb.interrupts import keeping_interrupts
from pagednb.server.listener import url_of
from pagednb.server.snippets import curl_snippet, python_snippet
from pagednb.server.web_server import WebServer

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine
    from pagednb.server.settings import ServerSettings

_START_SLICE_S = 0.01


class Server:
    """Serves ``engine`` on ``listener`` until ``stop``, and closes it. Clients are given ``url``.

    Runs beside a notebook: no signal handler, log or event loop of the host's is touched.
    """

    def __init__(self, engine: LLMEngine, listener: socket.socket, settings: ServerSettings) -> None:
        self.url = url_of(listener)
        self._settings = settings
        self._web = WebServer(engine, settings)
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name="pagednb-server", daemon=True)
        try:
            self._thread.start()
            while not self._web.started and self._thread.is_alive():
                with keeping_interrupts():
                    self._thread.join(_START_SLICE_S)
        except BaseException:
            self._web.should_exit = True  # an interrupt: nobody will ever have this server to stop it
            raise

    @property
    def is_running(self) -> bool:
        """Whether it still answers."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Tell every waiting client that the server ends, and end it. Safe to call twice."""
        self._web.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        with self._listener:
            self._web.run(sockets=[self._listener])

    def __repr__(self) -> str:
        if not self.is_running:
            return f"Server({self.url!r}, stopped)"
        return f"Server({self.url!r})\n\n{self._curl}\n\n{self._python}"

    def _repr_html_(self) -> str:
        if not self.is_running:
            return f"<p>{html.escape(repr(self))}</p>"
        blocks = "".join(f"<pre>{html.escape(text)}</pre>" for text in (self._curl, self._python))
        return f"<p>Serving {html.escape(self._settings.served_model_names[0])} at {html.escape(self.url)}</p>{blocks}"

    @property
    def _curl(self) -> str:
        return curl_snippet(self.url, self._settings)

    @property
    def _python(self) -> str:
        return python_snippet(self.url, self._settings)

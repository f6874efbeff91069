"""A JupyterLab in a process of its own that knows nothing of the machine's Jupyter, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
FORGOTTEN_S = 3600
"""A server whose test process was killed ends by itself after so long without a request."""

SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # every cell is in the page, in view or not
    "notebook-extension/tracker": {"windowingMode": "none", "maxNumberOutputs": 1000, "kernelShutdown": True},
    "docmanager-extension/plugin": {"autosave": False},
    "apputils-extension/themes": {"theme": "JupyterLab Light", "adaptive-theme": False},
}
OPTIONS = {
    "ServerApp.ip": "127.0.0.1",
    "ServerApp.open_browser": False,
    "ServerApp.allow_root": True,
    "IdentityProvider.token": "",
    "ServerApp.disable_check_xsrf": True,  # so that tests may end kernels without a browser
    "ServerApp.shutdown_no_activity_timeout": FORGOTTEN_S,
    # beyond 1,000 messages or a megabyte a second outputs would be dropped
    "ZMQChannelsWebsocketConnection.iopub_msg_rate_limit": 1e6,
    "ZMQChannelsWebsocketConnection.iopub_data_rate_limit": 1e9,
    "MappingKernelManager.cull_idle_timeout": FORGOTTEN_S,
    "LabApp.extension_manager": "readonly",  # the other one asks a package index
    "LabApp.expose_app_in_browser": True,  # as window.jupyterapp, for what has no button
}


class JupyterLab:
    """A running server: ``url``, and the ``folder`` that it shows."""

    def __init__(self, url: str, home: pathlib.Path) -> None:
        self.url = url
        self.folder = home / "notebooks"
        self._settings = home / "settings"

    def kernels(self) -> list[dict[str, Any]]:
        """Return what the server says about each running kernel."""
        return self._ask("GET", "api/kernels")

    def end_kernels(self) -> None:
        """End every session with its kernel."""
        for session in self._ask("GET", "api/sessions"):
            self._ask("DELETE", f"api/sessions/{session['id']}")

    def reset_settings(self) -> None:
        """Put every setting back that somebody changed on a page."""
        for plugin, values in SETTINGS.items():
            _write_json(self._settings / "@jupyterlab" / f"{plugin}.jupyterlab-settings", values)

    def is_up(self) -> bool:
        """Say whether the server answers."""
        try:
            self._ask("GET", "api/status")
        except urllib.error.URLError:
            return False
        return True

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(f"{self.url}/{path}", method=method)
        with urllib.request.urlopen(request, timeout=STOP_TIMEOUT_S) as response:
            body = response.read()
        return json.loads(body) if body else None


@contextlib.contextmanager
def jupyter_lab(home: pathlib.Path) -> Iterator[JupyterLab]:
    """Run JupyterLab with all its files under ``home``; kernels are this very interpreter."""
    lab = JupyterLab(f"http://127.0.0.1:{_free_port()}", home)
    lab.folder.mkdir()
    lab.reset_settings()
    options = OPTIONS | {"ServerApp.port": int(lab.url.rpartition(":")[2]), "ServerApp.port_retries": 0}
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    log = home / "server.log"
    environment = _environment(home)
    with log.open("wb") as said:
        process = subprocess.Popen(command, cwd=lab.folder, env=environment, stdout=said, stderr=said)
        try:
            _wait_until_up(lab, process, log)
            yield lab
        finally:
            _stop(process)


def _environment(home: pathlib.Path) -> dict[str, str]:
    """Make the folders that Jupyter is told to use, with the kernel in them."""
    _write_json(
        home / "data" / "kernels" / "python3" / "kernel.json",
        {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"],
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "metadata": {"debugger": True},
            "env": {"OMP_NUM_THREADS": "1"},  # the browser and the server need the machine's other core
        },
    )
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    own = {name: str(home / folder) for name, folder in folders.items()}
    return {**os.environ, **own, "JUPYTER_PREFER_ENV_PATH": "0"}


def _write_json(path: pathlib.Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_up(lab: JupyterLab, process: subprocess.Popen[bytes], log: pathlib.Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not lab.is_up():
        said = log.read_text(errors="replace")[-4000:]
        assert process.poll() is None, f"JupyterLab ended at once:\n{said}"
        assert time.monotonic() < deadline_s, f"JupyterLab does not answer:\n{said}"
        time.sleep(0.2)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()  # a clean end takes the kernels along; after a kill they notice that their parent is gone
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

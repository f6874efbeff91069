"""A real notebook kernel in a process of its own, driven as a front end drives it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

TIMEOUT_S = 120.0
Message = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Executed:
    """A cell that ran: its reply, and everything that was published until it was idle, whosever it was."""

    msg_id: str
    reply: Message
    published: list[Message]

    @property
    def stdout(self) -> str:
        return "".join(message["content"]["text"] for message in self.of_type("stream"))

    @property
    def display_data(self) -> list[Message]:
        return self.of_type("display_data", "update_display_data")

    def of_type(self, *kinds: str) -> list[Message]:
        return [message for message in self.published if message["msg_type"] in kinds]


class RealKernel:
    """Runs cells in a started kernel."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self._manager = manager
        self._client = client

    def run(self, code: str) -> Executed:
        """Run a cell to its end; it must succeed."""
        executed = self.finish(self.start(code))
        reply = executed.reply
        assert reply["status"] == "ok", "\n".join(reply.get("traceback", [str(reply)]))
        return executed

    def start(self, code: str) -> str:
        """Send a cell and return its message id."""
        return self._client.execute(code, store_history=False)

    def wait_for(self, msg_id: str, kind: str) -> Message:
        """Return the first message of this kind that the cell publishes."""
        while True:
            message = self._client.get_iopub_msg(timeout=TIMEOUT_S)
            if message["parent_header"].get("msg_id") == msg_id and message["msg_type"] == kind:
                return message
            assert not is_idle(message, msg_id), f"the cell ended without {kind}"

    def comm_id(self, widget: str) -> str:
        """Return the id of a widget's comm; a cell knows the widget as ``widget``."""
        return self.run(f"print({widget}.comm.comm_id)").stdout.strip()

    def press(self, widget: str, data: dict[str, Any]) -> list[Message]:
        """Send what a front end sends when somebody uses a widget, which a cell knows as ``widget``."""
        return self.drain(self.send_comm(self.comm_id(widget), data))

    def send_comm(self, comm_id: str, data: dict[str, Any], *, subshell_id: str | None = None) -> str:
        """Send a front end's message to a comm, through a subshell if one is named; return its id."""
        message = self._client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        message["header"]["subshell_id"] = subshell_id
        self._client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def create_subshell(self) -> str | None:
        """Start a second shell on a thread of its own, as JupyterLab does; None where ipykernel has no such thing."""
        info = self.reply_to(self._client.kernel_info())
        if "kernel subshells" not in info.get("supported_features", ()):
            return None
        return str(self._control("create_subshell_request")["subshell_id"])

    def need_subshell(self) -> str:
        """Start a second shell, or skip the test: ipykernel 6 has one shell only."""
        subshell_id = self.create_subshell()
        if subshell_id is None:
            pytest.skip("this ipykernel has no subshells")
        return subshell_id

    def delete_subshell(self, subshell_id: str) -> None:
        """End a shell that ``create_subshell`` started, as JupyterLab does when it closes a notebook."""
        self._control("delete_subshell_request", subshell_id=subshell_id)

    def complete(self, code: str) -> list[str]:
        """Return what the Tab key offers at the end of ``code``."""
        reply = self.reply_to(self._client.complete(code))
        assert reply["status"] == "ok" and reply["cursor_end"] == len(code), reply
        return [code[: reply["cursor_start"]] + match for match in reply["matches"]]

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def interrupted(self, code: str, *, after_s: float) -> tuple[Executed, float]:
        """Interrupt a cell that has run so long; return what it did, and the seconds until its reply was there."""
        msg_id = self.start(f"print('running', flush=True)\n{code}")
        self.wait_for(msg_id, "stream")
        time.sleep(after_s)
        begin_s = time.perf_counter()
        self.interrupt()
        reply = self.reply_to(msg_id)
        answer_s = time.perf_counter() - begin_s
        return Executed(msg_id, reply, self.drain(msg_id)), answer_s

    def shut_down(self) -> int | None:
        """Ask the kernel to end, as a restart does first; return its exit status, None if it did not end by itself."""
        process = self._manager.provisioner.process
        self._manager.request_shutdown(restart=True)
        deadline_s = time.monotonic() + TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.05)
        return process.returncode

    def restart(self) -> None:
        """Start a new process in the place of the one that ended, for the same front end."""
        self._manager.restart_kernel(now=True)
        self._client.wait_for_ready(timeout=TIMEOUT_S)

    def _control(self, kind: str, **content: Any) -> Message:
        self._client.control_channel.send(self._client.session.msg(kind, content))
        reply = self._client.get_control_msg(timeout=TIMEOUT_S)["content"]
        assert reply["status"] == "ok", reply
        return dict(reply)

    def reply_to(self, msg_id: str) -> Message:
        """Wait for the cell's reply."""
        while True:
            message = self._client.get_shell_msg(timeout=TIMEOUT_S)
            if message["parent_header"].get("msg_id") == msg_id:
                return message["content"]

    def finish(self, msg_id: str) -> Executed:
        """Wait for the cell's reply and for all that it publishes."""
        reply = self.reply_to(msg_id)
        return Executed(msg_id, reply, self.drain(msg_id))

    def drain(self, *msg_ids: str) -> list[Message]:
        """Return what is published until the kernel is done with all of these messages."""
        published = []
        busy = set(msg_ids)
        while busy:
            message = self._client.get_iopub_msg(timeout=TIMEOUT_S)
            published.append(message)
            busy = {msg_id for msg_id in busy if not is_idle(message, msg_id)}
        return published

    def published_within(self, seconds: float) -> list[Message]:
        """Return what is published in the next seconds, though no cell runs."""
        deadline_s = time.monotonic() + seconds
        published = []
        while (left_s := deadline_s - time.monotonic()) > 0:
            if self._client.iopub_channel.socket.poll(1000 * left_s):
                published.append(self._client.get_iopub_msg(timeout=1))
        return published


def is_idle(message: Message, msg_id: str) -> bool:
    """Whether the message says that the cell is over."""
    return (
        message["msg_type"] == "status"
        and message["content"]["execution_state"] == "idle"
        and message["parent_header"].get("msg_id") == msg_id
    )


@contextlib.contextmanager
def real_kernel() -> Iterator[RealKernel]:
    """Start a kernel on this very interpreter, whatever kernels are installed, and end it afterwards."""
    manager = KernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    # one thread: on tiny matrices more would only fight with the kernel's own
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    manager.start_kernel(env=environment, extra_arguments=["--InteractiveShell.colors=nocolor"])
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=TIMEOUT_S)
        yield RealKernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

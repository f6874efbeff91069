"""A chat in a real kernel: cells run while it answers, Stop and interrupts keep what came, little is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.kernel import Message, RealKernel, real_kernel

SET_UP = """
import time
import pagednb as pnb
pnb.load(device="cpu")
chat = pnb.chat(temperature=0, ignore_eos=True)  # answers that go on until somebody stops them
chat
"""
BOOKS = "s = pnb.status().scheduler; print(s.num_running, s.num_waiting, s.num_used_blocks)"
MAX_MESSAGES_PER_S = 15


@pytest.fixture(scope="module")
def kernel() -> Iterator[RealKernel]:
    with real_kernel() as kernel:
        [shown] = kernel.run(SET_UP).of_type("execute_result")
        assert "application/vnd.jupyter.widget-view+json" in shown["content"]["data"]
        yield kernel


@pytest.fixture(autouse=True)
def cleared(kernel: RealKernel) -> None:
    kernel.run("chat.clear()")


def press(kernel: RealKernel, kind: str, **fields: Any) -> list[Message]:
    return kernel.press("chat.widget", {"method": "custom", "content": {"type": kind, **fields}})


def sent(messages: list[Message]) -> list[Message]:
    """Custom messages of the chat among all that was published."""
    return [m for m in messages if m["msg_type"] == "comm_msg" and m["content"]["data"].get("method") == "custom"]


def contents(messages: list[Message]) -> list[dict[str, Any]]:
    return [message["content"]["data"]["content"] for message in sent(messages)]


def printed(kernel: RealKernel, expression: str) -> str:
    return kernel.run(f"print({expression})").stdout.strip()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_an_answer_streams_while_the_kernel_is_free(kernel: RealKernel) -> None:
    published = press(kernel, "ask", text="tell me a story") + kernel.published_within(2.5)
    kinds = [content["type"] for content in contents(published)]
    assert kinds[0] == "turns" and kinds.count("patch") >= 3 and "turn" not in kinds
    dates = [message["header"]["date"].timestamp() for message in sent(published)]
    assert max(sum(start <= date < start + 1 for date in dates) for start in dates) <= MAX_MESSAGES_PER_S
    assert printed(kernel, "chat.turns[-1].state, 1 + 1") == "streaming 2"
    stopped = contents(press(kernel, "stop"))
    assert stopped[-1]["type"] == "turn" and stopped[-1]["turn"]["state"] == "stopped"
    assert int(printed(kernel, "len(chat.turns[-1].text)")) > 10
    wait_until(lambda: kernel.run(BOOKS).stdout == "0 0 0\n")
    assert not [message for message in published if message["msg_type"] in ("stream", "display_data", "error")]


def test_cells_that_run_meanwhile_publish_only_their_own(kernel: RealKernel) -> None:
    press(kernel, "ask", text="tell me a story")
    executed = kernel.run("time.sleep(1)")
    assert {message["msg_type"] for message in executed.published} <= {"status", "execute_input", "comm_msg"}
    assert executed.stdout == ""


def test_an_interrupt_of_ask_keeps_what_came(kernel: RealKernel) -> None:
    msg_id = kernel.start("chat.ask('tell me a story')")
    time.sleep(2)
    kernel.interrupt()
    executed = kernel.finish(msg_id)
    assert executed.reply["ename"] == "KeyboardInterrupt"
    assert executed.reply["traceback"] == ["KeyboardInterrupt: what came of the answer stays in the chat."]
    assert printed(kernel, "chat.turns[-1].state, len(chat.turns[-1].text) > 0") == "stopped True"
    assert printed(kernel, "chat.ask('hello', max_tokens=4).state") == "cut"


def test_an_interrupt_of_an_awaited_ask_keeps_what_came(kernel: RealKernel) -> None:
    msg_id = kernel.start("await chat.aask('tell me a story')")
    time.sleep(2)
    kernel.interrupt()
    assert kernel.finish(msg_id).reply["ename"] in ("KeyboardInterrupt", "CancelledError")
    assert printed(kernel, "chat.turns[-1].state") == "stopped"


def test_a_chat_and_a_job_share_the_engine(kernel: RealKernel) -> None:
    kernel.run(
        "import pandas as pd\n"
        "frame = pd.DataFrame({'text': [f'parcel {row} is late' for row in range(40)]})\n"
        "job = frame['text'].llm.generate('Reply to: {}', max_tokens=20, background=True)\n"
        "answer = chat.ask('hello', max_tokens=8)"
    )
    assert printed(kernel, "answer.figures.num_new_tokens, job.result().notna().all()") == "8 True"


def test_a_page_that_is_loaded_anew_gets_all_of_an_answer_on_its_way(kernel: RealKernel) -> None:
    press(kernel, "ask", text="tell me a story")
    kernel.published_within(1.5)
    [state] = [content for content in contents(press(kernel, "draw")) if content["type"] == "state"][:1]
    turns = state["state"]["turns"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] and state["state"]["is_busy"]
    assert "".join(turns[1]["answer"]["blocks"]).startswith("<p>")
    assert printed(kernel, "chat.widget.get_state()['state']['turns'][0]['text']") == "tell me a story"


def test_unloading_ends_the_answer_with_its_sentence(kernel: RealKernel) -> None:
    press(kernel, "ask", text="tell me a story")
    kernel.run("pnb.unload()")
    wait_until(lambda: printed(kernel, "chat.turns[-1].state") == "failed")
    assert printed(kernel, "chat.turns[-1].error") != "None"
    press(kernel, "ask", text="hello")
    wait_until(lambda: printed(kernel, "chat.turns[-1].state") == "failed")
    assert printed(kernel, "chat.turns[-1].error").startswith("No model is loaded.")
    threads = "[t.name for t in __import__('threading').enumerate() if 'pagednb' in t.name]"
    wait_until(lambda: printed(kernel, threads) == "[]")

"""Jobs on threads of their own in a real kernel: nothing under a foreign cell, interrupts and Stop at any moment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.kernel import RealKernel

TOO_LONG_S = 5.0
"""Far more than an interrupt takes (0.1 s), and far less than the work that it ends."""

SET_UP = """
import asyncio, threading, time
import ipywidgets
import pandas as pd
import pagednb as pnb
rows = pd.DataFrame({"text": [f"where is order {i}, it was late again" for i in range(4000)]})
ask = dict(template="{text}", temperature=0, max_tokens=100, cache=False)
start_job = lambda: rows.llm.generate(**ask, background=True)
job = None
"""
ENGINE_IS_FREE = """
deadline_s = time.monotonic() + 5  # a chat lets go of its request a tenth of a second after it was stopped
while (status := pnb.status().scheduler).num_running and time.monotonic() < deadline_s:
    time.sleep(0.01)
assert (status.num_running, status.num_waiting, status.num_used_blocks) == (0, 0, 0), status
assert rows.head(3).llm.generate(**ask)["generated"].notna().all()
"""
STOP_BUTTON = """
threads = []
def stop(_):
    threads.append(threading.current_thread().name)
    job.cancel()
button = ipywidgets.Button(description="Stop")
button.on_click(stop)
job = start_job()
while not job.progress.rows_done:
    time.sleep(0.01)
"""
JOB_WAS_STOPPED = """
assert job.is_done and len(threads) == 1, (job, threads)
assert 0 < job.partial()["generated"].notna().sum() < len(rows), job
"""
ASK = {"method": "custom", "content": {"type": "ask", "text": "the quick brown fox"}}
DRAW = {"method": "custom", "content": {"type": "draw"}}
STOP = {"method": "custom", "content": {"type": "stop"}}
CLICK = {"method": "custom", "content": {"event": "click"}}


@pytest.fixture
def rows(kernel: RealKernel) -> Iterator[RealKernel]:
    """A kernel with more rows than any test waits for; it must be free afterwards."""
    kernel.run(SET_UP)
    yield kernel
    kernel.run("if job is not None: job.cancel()")
    kernel.run(ENGINE_IS_FREE)


@pytest.mark.parametrize(
    "cell",
    [
        "rows.llm.generate(**ask)",
        "await rows.llm.agenerate(**ask)",
        "job = start_job(); job.result()",
        "job = start_job(); await job",
        "pnb.chat(temperature=0, max_tokens=900).ask('the lazy dog')",
        "await pnb.chat(temperature=0, max_tokens=900).aask('the lazy dog')",
        "pnb.runtime.get_engine().generate(rows.text.tolist(), pnb.SamplingParams(max_tokens=100))",
    ],
)
@pytest.mark.parametrize("begins", ["", "await asyncio.sleep(0)\n"], ids=["plain", "in an awaiting cell"])
def test_an_interrupt_gives_the_prompt_back(rows: RealKernel, begins: str, cell: str) -> None:
    """A cell that awaits anything runs under another handler of SIGINT, which only tells the event loop."""
    executed, answer_s = rows.interrupted(begins + cell, after_s=0.3)
    print(f"the prompt was back in {answer_s:.3f} s")
    assert executed.reply.get("ename") in ("KeyboardInterrupt", "CancelledError"), executed.reply
    assert answer_s < TOO_LONG_S
    if cell.startswith("job"):
        rows.run("assert not job.is_done, 'the interrupt ends the wait, not the job'")


@pytest.mark.parametrize(
    "cell",
    [
        "await asyncio.gather(label(), asyncio.sleep(0.1))",
        "await asyncio.wait_for(label(), 60)",
        "task = asyncio.create_task(label())\nawait asyncio.sleep(0.1)",
    ],
)
def test_an_interrupt_of_a_task_that_blocks_ends_the_cell_and_not_the_kernel(rows: RealKernel, cell: str) -> None:
    rows.run("async def label():\n    rows.llm.generate(**ask)")
    executed, _ = rows.interrupted(cell, after_s=0.3)
    assert executed.reply.get("ename") in ("KeyboardInterrupt", "CancelledError"), executed.reply


def test_a_job_publishes_nothing_under_a_foreign_cell(rows: RealKernel) -> None:
    rows.run("job = start_job()")
    printing = rows.run("for i in range(5):\n    print(i, flush=True)\n    time.sleep(0.05)")
    streaming = rows.run("%%generate --max-tokens 30\nthe lazy dog")
    answering = rows.run("answer = %generate --max-tokens 30 the lazy dog")
    rows.run("assert not job.is_done, job")
    assert rows.published_within(0.5) == []
    for executed in (printing, streaming, answering):
        assert {message["parent_header"]["msg_id"] for message in executed.published} == {executed.msg_id}
    assert printing.stdout == "0\n1\n2\n3\n4\n" and printing.display_data == []
    assert streaming.stdout == ""
    assert {message["msg_type"] for message in answering.published} == {"status", "execute_input"}


def test_a_job_that_fails_publishes_nothing_until_it_is_asked(rows: RealKernel) -> None:
    rows.run("job = start_job()\nmodel = pnb.runtime.get_engine().config.model")
    unloading = rows.run("pnb.unload(); time.sleep(0.2)")
    assert {message["msg_type"] for message in unloading.published} == {"status", "execute_input"}
    failed = rows.finish(rows.start("job.result()"))
    assert failed.reply["ename"] == "EngineDeadError"
    rows.run("%llm load {model} --device cpu --dtype float32 --max-num-seqs 16")


@pytest.mark.parametrize("is_through_subshell", [False, True])
def test_a_button_stops_a_job(rows: RealKernel, *, is_through_subshell: bool) -> None:
    subshell_id = rows.need_subshell() if is_through_subshell else None
    rows.run(STOP_BUTTON)
    published = rows.drain(rows.send_comm(rows.comm_id("button"), CLICK, subshell_id=subshell_id))
    rows.run(JOB_WAS_STOPPED)
    assert [message["msg_type"] for message in published if message["msg_type"] != "status"] == []


def test_a_button_pressed_while_a_cell_runs_stops_the_job_by_the_end_of_the_cell(rows: RealKernel) -> None:
    """Some ipykernels run the click at once on a subshell's thread, others when the cell is over."""
    rows.run(STOP_BUTTON)
    comm_id, subshell_id = rows.comm_id("button"), rows.create_subshell()
    msg_id = rows.start("print('running', flush=True)\ntime.sleep(0.5)")
    rows.wait_for(msg_id, "stream")
    click_id = rows.send_comm(comm_id, CLICK, subshell_id=subshell_id)
    rows.drain(msg_id, click_id)
    rows.run(JOB_WAS_STOPPED)


@pytest.mark.parametrize("is_through_subshell", [False, True])
def test_a_chat_beside_a_job_is_stopped_by_its_button(rows: RealKernel, *, is_through_subshell: bool) -> None:
    """The main shell is free all the time; the answer comes by the widget's messages, few a second, and no others."""
    subshell_id = rows.need_subshell() if is_through_subshell else None
    rows.run("job = start_job()\nchat = pnb.chat(temperature=0, max_tokens=900)")
    comm_id = rows.comm_id("chat.widget")
    published = rows.drain(rows.send_comm(comm_id, ASK, subshell_id=subshell_id))
    begun_s = time.monotonic()
    while sum(kind_of(message) == "patch" for message in published) < 2:
        published += rows.published_within(0.05)
        assert time.monotonic() < begun_s + TOO_LONG_S, "it is seen to grow"
    published += rows.drain(rows.send_comm(comm_id, STOP, subshell_id=subshell_id))
    seconds = time.monotonic() - begun_s
    rows.run("assert (chat.turns[-1].state, job.is_done) == ('stopped', False), chat.turns")
    rows.run("assert chat.turns[-1].text")
    assert {message["msg_type"] for message in published} <= {"status", "comm_msg"}
    assert sum(kind_of(message) == "patch" for message in published) <= 15 * seconds + 5


def test_a_chat_is_heard_after_the_page_was_closed_and_opened_again(rows: RealKernel) -> None:
    """The first page's shell ended with it; the answer it asked for goes on, and the second page can stop it."""
    first, second = rows.need_subshell(), rows.need_subshell()
    rows.run("chat = pnb.chat(temperature=0, max_tokens=900)")
    comm_id = rows.comm_id("chat.widget")
    rows.drain(rows.send_comm(comm_id, ASK, subshell_id=first))
    rows.delete_subshell(first)
    drawn = rows.drain(rows.send_comm(comm_id, DRAW, subshell_id=second))
    assert "state" in [kind_of(message) for message in drawn]
    assert "patch" in [kind_of(message) for message in rows.published_within(0.5)]
    rows.drain(rows.send_comm(comm_id, STOP, subshell_id=second))
    rows.run("assert chat.turns[-1].state == 'stopped', chat.turns")


def test_a_chat_answers_while_a_cell_runs(rows: RealKernel) -> None:
    subshell_id = rows.need_subshell()
    rows.run("chat = pnb.chat(temperature=0, max_tokens=900)")
    comm_id = rows.comm_id("chat.widget")
    msg_id = rows.start("time.sleep(3)\nstates = [turn.state for turn in chat.turns]")
    rows.wait_for(msg_id, "execute_input")
    rows.drain(rows.send_comm(comm_id, ASK, subshell_id=subshell_id))
    assert "patch" in [kind_of(message) for message in rows.published_within(0.5)]
    rows.drain(rows.send_comm(comm_id, STOP, subshell_id=subshell_id))
    rows.reply_to(msg_id)
    rows.run("assert states == ['done', 'stopped'], states")


def kind_of(message: dict[str, Any]) -> str | None:
    """What a widget's message is, if it is one."""
    found: str | None = message["content"].get("data", {}).get("content", {}).get("type")
    return found

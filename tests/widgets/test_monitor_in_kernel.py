"""The monitor in a real kernel: few and small messages, none in a foreign cell, and quiet when nobody watches."""

from __future__ import annotations

import json

from support.kernel import Message, real_kernel

SET_UP = """
import pagednb as pnb, threading, time
llm = pnb.load(device="cpu", num_gpu_blocks_override=40, max_model_len=256, max_num_seqs=4)
def names(): return sorted(t.name for t in threading.enumerate() if t.name.startswith("pagednb"))
def work(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        params = pnb.SamplingParams(max_tokens=30, ignore_eos=True)
        llm.generate([f"Ticket {n}" for n in range(8)], params, use_tqdm=False)
monitor = pnb.monitor()
"""
WORK_S = 3.0
LEAVE = {"method": "custom", "content": {"type": "leave", "view": "page"}}
WATCH = {"method": "custom", "content": {"type": "watch", "view": "page"}}


def frames_in(messages: list[Message]) -> list[Message]:
    updates = [message for message in messages if message["msg_type"] == "comm_msg"]
    return [m for m in updates if "frame" in m["content"]["data"].get("state", {})]


def test_it_draws_a_working_cell_and_leaves_with_the_extension() -> None:
    with real_kernel() as kernel:
        kernel.run("%load_ext pagednb\n" + SET_UP)
        [shown] = kernel.run("monitor").of_type("execute_result")
        assert "application/vnd.jupyter.widget-view+json" in shown["content"]["data"]
        kernel.press("monitor.view", WATCH)
        worked = kernel.run(f"work({WORK_S}); names()")
        assert "pagednb-monitor" in str(worked.of_type("execute_result"))
        frames = frames_in(worked.published)
        # four a second and what was under way, though the work took longer than asked on a slow machine
        seconds = float(kernel.run("print(pnb.status().uptime_s)").stdout)
        assert 1 <= len(frames) <= 4 * seconds + 2
        assert max(len(json.dumps(frame["content"])) for frame in frames) < 30_000
        assert not worked.of_type("stream", "error")
        kernel.press("monitor.view", LEAVE)
        assert kernel.run("print(names(), monitor)").stdout == "['pagednb-engine'] <pagednb monitor: not watching>\n"
        assert frames_in(kernel.run("work(0.5)").published) == []
        kernel.press("monitor.view", WATCH)
        kernel.run("%unload_ext pagednb")
        assert kernel.run("print(names())").stdout == "[]\n"
        assert frames_in(kernel.published_within(1.5)) == []


def test_a_view_is_heard_after_the_page_was_closed_and_opened_again() -> None:
    with real_kernel() as kernel:
        first, second = kernel.need_subshell(), kernel.need_subshell()
        kernel.run(SET_UP)
        view = kernel.comm_id("monitor.view")
        kernel.drain(kernel.send_comm(view, WATCH, subshell_id=first))
        kernel.delete_subshell(first)
        kernel.drain(kernel.send_comm(view, LEAVE, subshell_id=second))
        assert kernel.run("print(monitor)").stdout == "<pagednb monitor: not watching>\n"

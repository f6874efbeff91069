"""Streaming in a real kernel: how much is published, under which cell, and what an interrupt leaves behind."""

from __future__ import annotations

import datetime
import html
import itertools
import re

from support.kernel import Executed, RealKernel

MAX_MESSAGES_PER_S = 15
NUM_TOKENS = 600


def times_s(executed: Executed) -> list[float]:
    dates = [message["header"]["date"] for message in executed.display_data]
    return [(date - datetime.datetime.fromtimestamp(0, datetime.UTC)).total_seconds() for date in dates]


def letters_of(shown: str) -> str:
    """What a reader sees, without spaces and cursor."""
    return "".join(html.unescape(re.sub("<[^>]*>", "", shown)).split()).removesuffix("▌")


def test_a_stream_is_seen_to_grow_and_stays_within_its_traffic(kernel: RealKernel) -> None:
    executed = kernel.run(f"%%generate --max-tokens {NUM_TOKENS}\nthe quick brown fox")
    times = times_s(executed)
    assert max(sum(start <= time < start + 1 for time in times) for start in times) <= MAX_MESSAGES_PER_S
    *growing, final = [message["content"]["data"] for message in executed.display_data]
    texts = [letters_of(data["text/html"]) for data in growing] + [letters_of(final["text/plain"])]
    assert len(texts) >= 4
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    sent = sum(len(text) for data in (*growing, final) for text in data.values())
    assert sent < 65_536 + 30 * len(final["text/html"])
    types = [message["msg_type"] for message in executed.display_data]
    assert types == ["display_data"] + ["update_display_data"] * (len(types) - 1)
    display_ids = {message["content"]["transient"]["display_id"] for message in executed.display_data}
    assert len(display_ids) == 1


def test_everything_is_published_under_the_cell_that_asked(kernel: RealKernel) -> None:
    executed = kernel.run(f"%%generate --max-tokens {NUM_TOKENS // 4}\nthe lazy dog")
    assert {message["parent_header"]["msg_id"] for message in executed.published} == {executed.msg_id}
    after = kernel.run("import time; time.sleep(0.5)")
    assert after.display_data == []
    assert kernel.published_within(0.3) == []


def test_an_interrupt_keeps_the_partial_text_and_the_next_cell_works(kernel: RealKernel) -> None:
    before = kernel.run("line = %generate --max-tokens 5 where is my order\nprint(line)").stdout
    msg_id = kernel.start("%%generate -o partial --max-tokens 900\nthe quick brown fox")
    for _ in range(3):
        kernel.wait_for(msg_id, "update_display_data")
    kernel.interrupt()
    executed = kernel.finish(msg_id)
    assert executed.reply["ename"] == "KeyboardInterrupt"
    last = executed.display_data[-1]["content"]["data"]
    assert len(last["text/plain"]) > 40
    assert last["text/plain"].endswith("[■ interrupted]")
    assert last["text/markdown"].endswith("*■ interrupted*")
    after = kernel.run("line = %generate --max-tokens 5 where is my order\nprint(line)").stdout
    assert after == before
    books = kernel.run(
        "import pagednb; s = pagednb.status().scheduler; print(s.num_running, s.num_waiting, s.num_used_blocks)"
    )
    assert books.stdout == "0 0 0\n"


def test_a_mistake_fails_the_cell_in_one_line(kernel: RealKernel) -> None:
    executed = kernel.finish(kernel.start("%%generate --max-tokns 5\nhi"))
    assert (executed.reply["status"], executed.reply["ename"]) == ("error", "UsageError")
    text = "".join(message["content"]["text"] for message in executed.of_type("stream"))
    assert text == "UsageError: Unknown flag '--max-tokns'. Did you mean --max-tokens?\n"
    assert executed.of_type("error") == []

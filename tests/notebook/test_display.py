"""The growing output: how often it updates, what its last message holds, what an early end leaves behind."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from support.shell import RaisingShell, raising_shell

from pagednb.notebook.answer_format import CURSOR
from pagednb.notebook.display import BYTES_A_BYTE, FREE_BYTES, stream_to_display
from pagednb.outputs import CompletionOutput, RequestOutput


@pytest.fixture
def shell() -> Iterator[RaisingShell]:
    with raising_shell() as shell:
        yield shell


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Stream:
    """``num_steps`` cumulative outputs, ``step_s`` apart; records when each message went out."""

    def __init__(self, *, num_steps: int, step_s: float, piece: str = "word ", ending: Any = None) -> None:
        self.clock = FakeClock()
        self.num_steps, self.step_s, self.piece, self.ending = num_steps, step_s, piece, ending

    def __iter__(self) -> Iterator[RequestOutput]:
        for step in range(1, self.num_steps + 1):
            self.clock.now_s += self.step_s
            yield output_of(self.piece * step, is_finished=step == self.num_steps)
        if self.ending is not None:
            raise self.ending

    def show(self, shell: RaisingShell) -> list[tuple[float, dict[str, Any]]]:
        """Run the stream to its end in a cell and return its messages with their times."""
        messages: list[tuple[float, dict[str, Any]]] = []
        publish = shell.shell.display_pub.publish

        def record(data: dict[str, Any], *args: Any, **options: Any) -> None:
            messages.append((self.clock.now_s, {"data": data, **options}))
            publish(data, *args, **options)

        shell.shell.display_pub.publish = record
        try:
            self.result = stream_to_display(self, clock=self.clock)
        except (KeyboardInterrupt, RuntimeError) as error:
            self.result = error
        return messages


def output_of(text: str, *, is_finished: bool = True, finish_reason: Any = "stop", num: int = 1) -> RequestOutput:
    completions = tuple(
        CompletionOutput(index=i, text=text, token_ids=(1, 2, 3), finish_reason=finish_reason) for i in range(num)
    )
    return RequestOutput(request_id="0", prompt="p", prompt_token_ids=(1,), outputs=completions, finished=is_finished)


@pytest.mark.parametrize("step_s", [0.0005, 0.01, 0.0667, 0.3])
def test_no_second_sees_more_than_fifteen_messages(shell: RaisingShell, step_s: float) -> None:
    stream = Stream(num_steps=round(4 / step_s), step_s=step_s, piece="." if step_s < 0.01 else "word ")
    times = [time_s for time_s, _ in stream.show(shell)]
    assert max(sum(start <= t <= start + 1 for t in times) for start in times) <= 15
    assert len(times) >= 4 * min(8, 1 / step_s) - 2, "it does stream"


def text_of(shown: str) -> str:
    """What a reader sees of HTML without a stylesheet."""
    assert "<style" not in shown
    return html.unescape(re.sub("<[^>]*>", "", shown)).replace(CURSOR, "")


def num_bytes_shown(shell: RaisingShell, num_steps: int) -> int:
    messages = Stream(num_steps=num_steps, step_s=0.005, piece="é" * 10).show(shell)
    return sum(len(text.encode()) for _, message in messages for text in message["data"].values())


def test_bytes_are_linear_in_the_length_of_the_answer(shell: RaisingShell) -> None:
    short, long = (num_bytes_shown(shell, num_steps) for num_steps in (1000, 8000))
    assert long <= FREE_BYTES + (BYTES_A_BYTE + 4) * 8000 * 20 + 1000
    assert long <= 9 * short, "without a bound it would be 64 times as much"


def test_a_long_text_is_never_far_behind(shell: RaisingShell) -> None:
    messages = Stream(num_steps=8000, step_s=0.005).show(shell)
    lengths = [len(text_of(message["data"]["text/html"])) for _, message in messages]
    assert all(later - earlier <= later / 20 + 200 for earlier, later in itertools.pairwise(lengths))


def test_an_answer_that_stands_still_is_not_sent_again(shell: RaisingShell) -> None:
    messages = Stream(num_steps=100, step_s=0.1, piece="").show(shell)
    assert len(messages) == 2


def test_one_output_is_updated_and_completed_once(shell: RaisingShell) -> None:
    stream = Stream(num_steps=50, step_s=0.05)
    messages = [message for _, message in stream.show(shell)]
    assert len({m["transient"]["display_id"] for m in messages}) == 1
    assert [m.get("update", False) for m in messages] == [False] + [True] * (len(messages) - 1)
    assert all(set(m["data"]) == {"text/html"} and CURSOR.strip() in m["data"]["text/html"] for m in messages[:-1])
    last = messages[-1]["data"]
    assert (last["text/markdown"], last["text/plain"]) == ("word " * 50, "word " * 50)
    assert text_of(last["text/html"]).split() == ["word"] * 50 and CURSOR.strip() not in last["text/html"]
    assert stream.result.text == "word " * 50


@pytest.mark.parametrize(
    ("ending", "note"), [(KeyboardInterrupt(), "interrupted"), (RuntimeError("boom"), "stopped by an error")]
)
def test_an_early_end_keeps_the_text_and_passes_through(shell: RaisingShell, ending: Any, note: str) -> None:
    stream = Stream(num_steps=3, step_s=0.001, ending=ending)
    last = stream.show(shell)[-1][1]
    assert stream.result is ending
    assert last["data"]["text/markdown"] == f"word word word \n\n*■ {note}*"
    assert last["data"]["text/plain"] == f"word word word \n[■ {note}]"


def test_of_a_refused_prompt_nothing_is_shown(shell: RaisingShell) -> None:
    last = Stream(num_steps=0, step_s=0, ending=RuntimeError("too long")).show(shell)[-1][1]
    assert last["data"]["text/plain"] == ""
    assert text_of(last["data"]["text/html"]).strip() == ""


def test_a_cut_text_says_so(shell: RaisingShell) -> None:
    shell.names.update(show=stream_to_display, steps=[output_of("abc", finish_reason="length", num=2)])
    shell.run("output = show(steps)")
    assert "stopped by the length limit after 3 tokens" in shell.outputs[-1].data["text/plain"]
    assert "abc\n\n---\n\nabc" in shell.outputs[-1].data["text/markdown"]

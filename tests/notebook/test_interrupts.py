"""One hundred interrupts of a labelling cell in a real kernel: a quick answer, a clean engine, a correct next call."""

from __future__ import annotations

import pathlib
import random
import time
from collections.abc import Iterator

import pytest
from support.kernel import Message, RealKernel, real_kernel
from support.tiny_models import tiny_model

NUM_INTERRUPTS = 100
MAX_ANSWER_S = 0.5
MAX_DELAY_S = 0.15

SET_UP = """
import pandas as pd
import pagednb as pnb
%load_ext pagednb
llm = pnb.load({folder!r}, device="cpu", dtype="float32", max_num_seqs=32)
many = pd.DataFrame({{"text": [f"where is order {{i}}, it was late again" for i in range(3000)]}})
few = many.head(4)
label = lambda frame, **options: frame.llm.generate("say: {{text}}", into="label", cache=False, **options)
expected = label(few, max_tokens=6, progress=False)["label"].tolist()
"""

INTERRUPTED = """
print("running", flush=True)
label(many, max_tokens=200)
"""

NEXT_CALL = """
status = pnb.status().scheduler
assert (status.num_running, status.num_waiting, status.num_used_blocks) == (0, 0, 0), status
llm.engine.check_integrity()
assert label(few, max_tokens=6, progress=False)["label"].tolist() == expected
"""


@pytest.fixture
def kernel(tmp_path: pathlib.Path) -> Iterator[RealKernel]:
    folder = tiny_model("llama3.2", tmp_path, tokenizer=True, eos_token_id=None)
    with real_kernel() as kernel:
        kernel.run(SET_UP.format(folder=str(folder)))
        yield kernel


@pytest.mark.slow
def test_interrupts_of_a_running_label_cell(kernel: RealKernel) -> None:
    randomness = random.Random(0)
    answers_s = [interrupt_once(kernel, randomness.uniform(0, MAX_DELAY_S)) for _ in range(NUM_INTERRUPTS)]
    assert max(answers_s) <= MAX_ANSWER_S, sorted(answers_s)[-5:]


def texts_of(published: list[Message]) -> list[str]:
    """What the cell printed: Python tells there when it had to ignore an exception."""
    return [message["content"]["text"] for message in published if message["msg_type"] == "stream"]


def interrupt_once(kernel: RealKernel, delay_s: float) -> float:
    """Interrupt a running cell after a while, run the next one, return how long the prompt took to come back."""
    msg_id = kernel.start(INTERRUPTED)
    kernel.wait_for(msg_id, "stream")
    time.sleep(delay_s)
    asked_s = time.perf_counter()
    kernel.interrupt()
    reply = kernel.reply_to(msg_id)
    answer_s = time.perf_counter() - asked_s
    published = kernel.drain(msg_id)
    assert (reply["status"], reply.get("ename")) == ("error", "KeyboardInterrupt"), (answer_s, texts_of(published))
    kernel.run(NEXT_CALL)
    return answer_s

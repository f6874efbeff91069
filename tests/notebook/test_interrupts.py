"""One hundred interrupts of a labelling cell in a real kernel: a quick answer, a clean engine, a correct next call."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Iterator

import pytest
from support.kernel import RealKernel, real_kernel
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

INTERRUPTED = "label(many, max_tokens=200)"

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


def interrupt_once(kernel: RealKernel, delay_s: float) -> float:
    """Interrupt a running cell after a while, run the next one, return how long the prompt took to come back."""
    executed, answer_s = kernel.interrupted(INTERRUPTED, after_s=delay_s)
    reply = executed.reply
    assert (reply["status"], reply.get("ename")) == ("error", "KeyboardInterrupt"), (answer_s, executed.stdout)
    kernel.run(NEXT_CALL)
    return answer_s

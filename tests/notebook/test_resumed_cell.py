"""Stop in a real kernel: rows that are done are kept, and the same cell goes on from there, awaited or not."""

from __future__ import annotations

import pathlib

import pytest
from support.kernel import real_kernel
from support.tiny_models import tiny_model

SET_UP = """
import os, signal, threading, time
import pandas as pd
import pagednb as pnb
import pagednb.errors
llm = pnb.load({folder!r}, device="cpu", dtype="float32", max_num_seqs=16)
rows = pd.DataFrame({{"text": [f"where is order {{i}}" for i in range(1500)]}})

def press_stop():
    # what a front end's Stop does, once some rows are done
    while True:
        time.sleep(0.005)
        try:
            if pnb.last_run().figures.rows_done > 40:
                break
        except pnb.errors.OptionError:
            pass
    asked_s.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)

asked_s = []
threading.Thread(target=press_stop, daemon=True).start()
label = dict(template="{{text}}", temperature=0, max_tokens=12)
"""
BLOCKING = "result = rows.llm.generate(**label)"
AWAITED = "result = await rows.llm.agenerate(**label)"
BACKGROUND = """
job = rows.llm.generate(**label, cache=False, background=True)
few = rows.head(2).llm.generate("{text} now", temperature=0, max_tokens=3)  # shares the engine with the job
assert few["generated"].notna().all() and not job.is_done, job
job.cancel()
assert not [thread for thread in threading.enumerate() if thread.name == "pagednb job"]
"""
CHECK = """
assert time.perf_counter() - asked_s[0] < 2
status = pnb.status().scheduler
assert (status.num_running, status.num_waiting, status.num_used_blocks) == (0, 0, 0), status
partial = pnb.last_run().frame
assert len(partial) == 1500
num_done = int(partial["generated"].notna().sum())
assert 0 < num_done < 1500, num_done
"""
AGAIN = """
result = rows.llm.generate(**label)
assert len(result) == 1500 and result["generated"].notna().all()
figures = result.attrs["pagednb"]
assert figures["reused"] >= num_done, (figures["reused"], num_done)
assert figures["reused"] + figures["computed"] == 1500
assert (partial["generated"].dropna() == result["generated"][partial["generated"].notna()]).all()
"""


@pytest.mark.slow
@pytest.mark.parametrize("cell", [BLOCKING, AWAITED], ids=["blocking", "awaited"])
def test_an_interrupt_keeps_rows_and_the_cell_resumes(cell: str, tmp_path: pathlib.Path) -> None:
    folder = tiny_model("llama3.2", tmp_path, tokenizer=True, eos_token_id=None)
    with real_kernel() as kernel:
        kernel.run(SET_UP.format(folder=str(folder)))
        reply = kernel.finish(kernel.start(cell)).reply
        assert reply["status"] == "error"
        assert reply["ename"] in ("KeyboardInterrupt", "CancelledError"), "\n".join(reply["traceback"])
        if cell is BLOCKING:
            assert "/1500 done, run the cell again to resume" in "".join(reply["traceback"])
        kernel.run(CHECK)
        kernel.run(AGAIN)
        kernel.run(BACKGROUND)

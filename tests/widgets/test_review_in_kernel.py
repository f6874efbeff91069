"""The review table in a real kernel: clicks decide, little is sent, and a cell that is run again loses nothing."""

from __future__ import annotations

from support.kernel import real_kernel

SET_UP = """
import pandas as pd
import pagednb as pnb
def labelled():
    return pd.DataFrame({"text": [f"ticket {row}" for row in range(50)], "team": "a", "team_confidence": 0.5})
"""
REVIEW = """
review = pnb.frame(labelled()).review("team", labels=["a", "b"])
review
"""
CLICK = {"method": "custom", "content": {"event": "click"}}
CHOOSE_FIRST = {"method": "update", "state": {"index": 1}, "buffer_paths": []}
CHOOSE_LAST = {"method": "update", "state": {"index": 2}, "buffer_paths": []}


def test_clicks_decide_and_the_cell_run_again_finds_them() -> None:
    with real_kernel() as kernel:
        kernel.run(SET_UP)
        [shown] = kernel.run(REVIEW).of_type("execute_result")
        assert "application/vnd.jupyter.widget-view+json" in shown["content"]["data"]
        kernel.press("review.table.lines[0].button", CLICK)
        kernel.press("review.table.lines[1].choice", CHOOSE_LAST)
        sent = kernel.press("review.table.forward", CLICK)
        kinds = [message["msg_type"] for message in sent]
        assert "comm_open" not in kinds and kinds.count("comm_msg") < 100
        kernel.press("review.table.lines[0].button", CLICK)
        again = kernel.run(REVIEW + "print(review.frame['team_reviewed'].dropna().to_dict())")
        assert again.stdout.strip() == "{0: 'a', 1: 'b', 20: 'a'}"
        kernel.press("review.table.undo", CLICK)
        assert kernel.run("print(review.num_reviewed)").stdout.strip() == "2"


def test_clicks_are_heard_after_the_page_was_closed_and_opened_again() -> None:
    with real_kernel() as kernel:
        first, second = kernel.need_subshell(), kernel.need_subshell()
        kernel.run(SET_UP + REVIEW)
        choice = kernel.comm_id("review.table.lines[0].choice")
        kernel.drain(kernel.send_comm(choice, CHOOSE_LAST, subshell_id=first))
        kernel.delete_subshell(first)
        kernel.drain(kernel.send_comm(choice, CHOOSE_FIRST, subshell_id=second))
        assert kernel.run("print(review.frame['team_reviewed'][0])").stdout.strip() == "a"
